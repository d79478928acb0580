"""How well a book is predicted after so much of it was read, by each system's memory.

The book is read in order. At each length the next windows of it are predicted one after another
from nothing but the memory, each from its first token on, and then read like the rest. So whatever
a memory knows of the story, its people and its style can help.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, ClassVar, Self

from memplus.data.stream import Piece, Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.figures import Figure, groups_of, pooled
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.engine.summary import half_width
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.evaluation.tasks.sizes import require_each, require_least

__all__ = ["PerplexityTask"]

WINDOW = "window"


@dataclass(frozen=True)
class PerplexityTask(BenchTask):
    """Perplexity over all scored tokens."""

    name: ClassVar[str] = "perplexity"
    title: ClassVar[str] = "perplexity of a book"
    axis: ClassVar[str] = "tokens of the book read before"
    judge: ClassVar[Judge] = Judge("likelihood")

    lengths: tuple[int, ...] = (1000, 16_000)
    """Tokens of the book read before the first window."""
    items: int = 32
    """Windows at each length, in each book."""
    window: int = 256
    """Tokens of each, at least: it ends with a sentence."""
    seeds: int = 3
    """Books: the first ones of the prose."""

    def __post_init__(self) -> None:
        """Refuse what cannot be predicted.

        Raises:
            ConfigError: nothing is, or the windows of a length reach beyond the next one.
        """
        for name in ("items", "window", "seeds"):
            require_least(name, getattr(self, name))
        require_each("lengths", self.lengths, 0)
        for before, after in pairwise(sorted(self.lengths)):
            if before + self.items * self.window > after:
                raise self._too_close(before, after)

    def _too_close(self, before: int, after: int) -> ConfigError:
        reason = (
            f"the {self.items} windows after {before} tokens reach beyond it; take fewer items, "
            "shorter windows, or lengths that lie further apart"
        )
        return ConfigError("lengths", value=after, reason=reason)

    @classmethod
    def small(cls) -> Self:
        """Two books, six windows after 1000 and after 4000 tokens."""
        return cls(lengths=(1000, 4000), items=6, seeds=2)

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        """A stream per book.

        Raises:
            ConfigError: there are not so many books of that length, or the sentences of one are so
                long that the windows of a length reach beyond the next one.
        """
        lengths = sorted(self.lengths)
        need = lengths[-1] + self.items * (self.window + 200)
        plans: list[Plan] = []
        for text in inputs.prose:
            if len(plans) == self.seeds:
                break
            if len(text) < 3 * need:
                continue
            # English has four to five characters a token; ten make sure of enough.
            texts = Texts.of([text[: 10 * need]], inputs.reference)
            if texts.tokens < need:
                continue
            plan = self._plan(texts.sentences[0], len(plans), lengths)
            # Long sentences may end a book before its last window.
            if len(plan.once) == self.items * len(lengths):
                plans.append(plan)
                inputs.digests[f"prose/{len(plans)}"] = texts.sha256
        if len(plans) < self.seeds:
            reason = (
                f"each takes a text of at least {need} tokens, and {len(plans)} of those given are "
                "so long; give longer books, or more of them, with `--texts`"
            )
            raise ConfigError("seeds", value=self.seeds, reason=reason)
        return plans

    def _plan(self, pieces: Sequence[Piece], book: int, lengths: Sequence[int]) -> Plan:
        steps: list[Step] = []
        waiting: list[Piece] = []
        left = list(lengths)
        written, at, windows = 0, 0, 0
        while left and at < len(pieces):
            if written + _tokens(waiting) < left[0]:
                waiting.append(pieces[at])
                at += 1
                continue
            ahead, at = self._window(pieces, at)
            written += _tokens(waiting)
            steps.append(_step(waiting, self._question(ahead, left[0], written, windows)))
            waiting = ahead
            windows += 1
            if windows % self.items == 0:
                before = left.pop(0)
                if left and written + _tokens(waiting) > left[0]:
                    raise self._too_close(before, left[0])
        once = tuple(one for step in steps for one in step.questions)
        return Plan(f"book {book}", book, tuple(steps), once)

    def _window(self, pieces: Sequence[Piece], at: int) -> tuple[list[Piece], int]:
        taken: list[Piece] = []
        while at < len(pieces) and _tokens(taken) < self.window:
            taken.append(pieces[at])
            at += 1
        return taken, at

    def _question(self, ahead: Sequence[Piece], length: int, written: int, index: int) -> Question:
        text = "".join(piece.text for piece in ahead)
        return Question(
            key=f"{WINDOW}/{length}/{index}",
            kind=WINDOW,
            text="",
            answers=(text,),
            wanted=length,
            distance=written,
            options=(text,),
        )

    def figures(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """Perplexity by length, with the interval of the windows' spread."""
        found = []
        for (kind, wanted), group in groups_of(lines).items():
            losses = [-line["scores"][0][0] for line in group]
            counts = [line["scores"][0][1] for line in group]
            middle = sum(losses) / sum(counts)
            # A ratio's spread: of what each window adds beyond its share.
            apart = [loss - middle * count for loss, count in zip(losses, counts, strict=True)]
            # One window says nothing of the spread.
            spread = half_width(apart) / fmean(counts) if len(group) > 1 else 0.0
            found.append(
                Figure(
                    kind,
                    wanted,
                    "perplexity",
                    math.exp(middle),
                    math.exp(middle - spread),
                    math.exp(min(700.0, middle + spread)),
                    asked=len(group),
                    declined=0.0,
                    seconds=fmean(line["seconds"] for line in group),
                    bytes=fmean(line["bytes"] for line in group),
                )
            )
        return found

    def headline(self, lines: Iterable[Mapping[str, Any]]) -> list[Figure]:
        """Perplexity of all scored tokens."""
        return self.figures(pooled(lines))


def _tokens(pieces: Sequence[Piece]) -> int:
    return sum(len(piece) for piece in pieces)


def _step(pieces: Sequence[Piece], question: Question) -> Step:
    return Step(tuple(piece.text for piece in pieces), _tokens(pieces), "book", (question,))
