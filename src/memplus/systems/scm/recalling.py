"""From an input to what is put before it: gate, ranking, selection (2304.13343)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from memplus.systems.scm.controller import Controller
from memplus.systems.scm.options import SCMOptions
from memplus.systems.scm.prompts import before_input
from memplus.systems.scm.ranking import centred_cosines, nearest, recency, word_scores
from memplus.systems.scm.selection import (
    Chosen,
    Form,
    Limits,
    Selection,
    flash_of,
    select,
    select_naively,
)
from memplus.systems.scm.stream import Turn

__all__ = ["Asked", "Called", "Parts", "call_up"]


@dataclass(frozen=True)
class Parts:
    """What calling up stands on, of one system."""

    options: SCMOptions
    controller: Controller
    summary: Callable[[Turn], str]
    count: Callable[[str], int]
    """Tokens of a text."""
    shorten: Callable[[str, int], str]
    """The beginning of a text, of at most so many tokens."""
    vector: Callable[[str], Tensor] | None
    """[d] of a text; None: turns are compared by their words."""


@dataclass(frozen=True, slots=True)
class Called:
    """A turn as it is put into a prompt."""

    turn: Turn
    chosen: Chosen
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands before an input."""

    selection: Selection = field(default_factory=Selection)
    called: tuple[Called, ...] = ()
    """All turns that are put into the prompt, flash memory last."""
    before: str = ""
    """Their texts, under headings."""
    wished: int = 0
    """Tokens that would be put in if the model had positions for them."""

    @property
    def cut(self) -> int:
        """How many of these it has no positions for."""
        return max(0, self.wished - self.selection.tokens)

    @property
    def remark(self) -> str:
        """What a reply should say of it; empty where all of it is called up."""
        return f"cut {self.cut} of {self.wished} tokens" if self.cut else ""

    @property
    def emptied(self) -> Asked:
        """Nothing of it is put into the prompt."""
        return Asked(wished=self.wished)


class _Turns:
    """``selection.Turns`` for one input."""

    def __init__(self, parts: Parts, turns: Sequence[Turn], query: str) -> None:
        self.parts = parts
        self.turns = turns
        self.query = query
        self._said: dict[tuple[int, Form], bool] = {}

    def tokens(self, turn: int) -> int:
        return self.turns[turn].tokens

    def summary_tokens(self, turn: int) -> int:
        return self.parts.count(self.text(turn, "summary"))

    def answers(self, turn: int, form: Form) -> bool:
        if (turn, form) not in self._said:
            found = self.parts.controller.answers(self.text(turn, form), self.query)
            self._said[turn, form] = found
        return self._said[turn, form]

    def text(self, turn: int, form: Form) -> str:
        one = self.turns[turn]
        return one.text if form == "raw" else self.parts.summary(one)


def call_up(
    parts: Parts, stream: Sequence[Turn], query: str, room: int, *, asked: bool = True
) -> Asked:
    """Choose what of the stream stands before an input.

    Args:
        parts: of the system.
        stream: all turns, the last one being flash memory.
        query: the input; without words nothing is called up.
        room: tokens that the model has positions for, at least 2.
        asked: whether the input is to be answered.
    """
    if not stream:
        return Asked()
    options, turns = parts.options, _Turns(parts, stream, query)
    ranked: list[int] = []
    if _wanted(parts, stream, query):
        ranked = nearest(_scores(parts, stream, query), options.k)

    def chosen(limits: Limits) -> Selection:
        flash = flash_of(len(stream) - 1, turns, limits) if options.flash else None
        rule = select_naively if options.naive else select
        return rule(ranked, flash, turns, limits)

    found = chosen(replace(options.limits, room=room))
    # Without that limit nothing is asked or summarised that was not with it.
    wished = chosen(options.limits).tokens
    activation = [_called(parts, turns, one) for one in found.activation]
    last = [] if found.flash is None else [_called(parts, turns, found.flash)]
    texts = [one.text for one in activation]
    before = before_input(texts, last[0].text if last else "", asked=asked)
    return Asked(found, (*activation, *last), before, wished)


def _wanted(parts: Parts, stream: Sequence[Turn], query: str) -> bool:
    """Whether earlier turns are to be called up: there are any, and the gate does not say no."""
    if not parts.options.activation or len(stream) < 2 or not query.strip():
        return False
    return parts.options.gate == "off" or parts.controller.needs_memory(query)


def _scores(parts: Parts, stream: Sequence[Turn], query: str) -> list[float]:
    """Rank of every turn but the last: recency, weighed, plus relevance."""
    earlier = stream[:-1]
    vectors = [one.vector for one in earlier if one.vector is not None]
    if parts.vector is not None and len(vectors) == len(earlier):
        relevance = centred_cosines(parts.vector(query), torch.stack(vectors))
    else:
        relevance = word_scores(query, [one.summary or one.text for one in earlier])
    weight = parts.options.recency
    return [weight * new + near for new, near in zip(recency(len(stream)), relevance, strict=True)]


def _called(parts: Parts, turns: _Turns, chosen: Chosen) -> Called:
    text = turns.text(chosen.turn, chosen.form)
    cut = parts.shorten(text, chosen.tokens) if chosen.cut else text
    return Called(turns.turns[chosen.turn], chosen, cut)
