"""Asking planted facts, judging the answers, counting them by distance.

This room knows questions and answers. How an answer comes about is the caller's: it passes a
function from question to ``Answer``, so the same code judges M+, MemoryLLM and no memory at all.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

from memplus.evaluation.planting import Planted

__all__ = ["Bin", "Outcome", "accuracy", "ask_all", "by_distance", "is_right"]

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[AnswerT]):
    """One planted fact, asked: what was said in full, and whether it was the right answer."""

    planted: Planted
    said: str
    right: bool
    answer: AnswerT


@dataclass(frozen=True, slots=True)
class Bin:
    """Questions on facts told ``low`` to ``high`` tokens (exclusive) before the end."""

    low: int
    high: int
    asked: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """Share of right answers, 0 to 1; None where nothing was asked."""
        return self.right / self.asked if self.asked else None


def is_right(said: str, answer: str) -> bool:
    """Whether the whole of what was said is the answer, but for case, spaces and a full stop.

    Strict on purpose: an answer that lists several values is not right, though it holds one.
    """
    return _bare(said) == _bare(answer)


def _bare(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(" .\"'")


def ask_all(
    planted: Sequence[Planted],
    *,
    ask: Callable[[str], AnswerT],
    text_of: Callable[[AnswerT], str],
) -> Iterator[Outcome[AnswerT]]:
    """Asks each planted fact in turn, yielding as it goes so that a caller can show progress."""
    for one in planted:
        answer = ask(one.fact.question)
        said = text_of(answer)
        yield Outcome(one, said, is_right(said, one.fact.answer), answer)


def by_distance(outcomes: Sequence[Outcome[AnswerT]], edges: Sequence[int]) -> list[Bin]:
    """Counts outcomes per distance bin; ``edges`` rise and cover every distance."""
    bins = []
    for low, high in pairwise(edges):
        inside = [one.right for one in outcomes if low <= one.planted.distance < high]
        bins.append(Bin(low, high, asked=len(inside), right=sum(inside)))
    return bins


def accuracy(outcomes: Sequence[Outcome[AnswerT]]) -> float:
    """Share of right answers, 0 to 1; 0 where nothing was asked."""
    return sum(one.right for one in outcomes) / len(outcomes) if outcomes else 0.0
