"""What no training has seen, dealt into what a stream tells, what it never tells, and the rest.

SQuAD and Natural Questions by the rules of ``data.passages``, statements and corrections by the
topics of ``data.statements``. A quarter of it, by the SHA-256 of each text, is kept for choosing a
threshold and is never in a figure; the other three are what figures are about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from memplus.data.passages import PassageQuestions
from memplus.data.statements import HELD_OUT_TOPICS, read_corrections, read_statements
from memplus.evaluation.tasks.told import Item, Telling

__all__ = ["CORRECTION", "STATEMENT", "HeldOut", "Part", "passage_items", "statement_items"]

STATEMENT, CORRECTION = "statement", "correction"

Part = Literal["figures", "threshold"]
"""What held-out items are for."""

_THRESHOLD_DIGITS = "0123"
_QUESTIONS_EACH = 2
"""Most questions about one item: more say little about other items."""
_UNTOLD_TOPICS = 5
"""Of so many topics one is never told, where there are as many."""
_UNTOLD_ITEMS = 2
"""To an item that is asked for and never told there are so many that are told."""


def passage_items(
    kind: str, passages: Iterable[PassageQuestions], distances: tuple[int, ...]
) -> tuple[Item, ...]:
    """Passages of a set as items.

    Args:
        kind: what figures call it.
        passages: of one split.
        distances: at which they are asked.
    """
    return tuple(
        Item(
            kind,
            passage.text,
            tuple((one.question, one.answers) for one in passage.questions),
            distances,
            passage.topic,
        )
        for passage in passages
    )


def statement_items(distances: tuple[int, ...], corrected: tuple[int, ...]) -> tuple[Item, ...]:
    """The bundled statements and corrections of the held-out topics.

    Args:
        distances: at which statements are asked.
        corrected: at which corrections are, counted from the later version; none: no corrections.
    """
    told = [
        Item(
            STATEMENT,
            one.text,
            tuple((asked.question, asked.answers) for asked in one.questions),
            distances,
            one.topic,
        )
        for one in read_statements(HELD_OUT_TOPICS)
    ]
    changed = [
        Item(
            CORRECTION,
            one.later,
            ((one.question, one.answers),),
            corrected,
            one.topic,
            earlier=one.text,
            outdated=one.outdated[0],
        )
        for one in (read_corrections(HELD_OUT_TOPICS) if corrected else ())
    ]
    return (*told, *changed)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out items of all kinds, and passages to tell between them."""

    items: tuple[Item, ...]
    others: tuple[PassageQuestions, ...] = ()
    """Of any split; those of a stream's own items and of topics that it never tells are left out
    of it."""

    @property
    def sha256(self) -> str:
        """Of every text and question."""
        told = [repr((one.kind, one.text, one.questions, one.earlier)) for one in self.items]
        texts = [*told, *(one.text for one in self.others)]
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()

    def deal(self, count: int, seed: int, part: Part = "figures") -> Telling:
        """Draw what one stream tells.

        Args:
            count: items of each kind that are told, all where there are fewer. Half as many of each
                kind, corrections apart, are asked for and never told; where there are five topics
                or more, of topics of which nothing is told.
            seed: of the draw.
            part: what the figures are for.

        Raises:
            ConfigError: nothing is left to tell.
        """
        random = Random(f"{seed} {part}")
        mine = [one for one in self.items if _part_of(one) == part]
        kinds = list(dict.fromkeys(one.kind for one in mine))
        told: list[Item] = []
        untold: list[Item] = []
        for kind in kinds:
            own = [_drawn(one, random) for one in mine if one.kind == kind]
            first, never = _split(random.sample(own, len(own)), random)
            told += first[:count]
            untold += never[: max(1, count // _UNTOLD_ITEMS)]
        return Telling(tuple(told), tuple(untold), tuple(self._others(told, untold, random)))

    def _others(
        self, told: Sequence[Item], untold: Sequence[Item], random: Random
    ) -> Iterable[str]:
        """Passages that nobody asks for, in an order of chance."""
        texts = {one.text for one in (*told, *untold)}
        topics = {one.topic for one in untold}
        others = dict.fromkeys(
            one.text for one in self.others if one.topic not in topics and one.text not in texts
        )
        return random.sample(list(others), len(others))


def _part_of(item: Item) -> Part:
    """Corrections are few, and no threshold needs them."""
    digest = hashlib.sha256(item.text.encode()).hexdigest()
    kept = item.kind != CORRECTION and digest[-1] in _THRESHOLD_DIGITS
    return "threshold" if kept else "figures"


def _drawn(item: Item, random: Random) -> Item:
    """The item with as many of its questions as are asked."""
    count = min(_QUESTIONS_EACH, len(item.questions))
    return replace(item, questions=tuple(random.sample(item.questions, count)))


def _split(items: Sequence[Item], random: Random) -> tuple[list[Item], list[Item]]:
    """Items that may be told, and items that never are."""
    if items[0].kind == CORRECTION:
        return list(items), []
    topics = sorted({one.topic for one in items})
    kept = set(random.sample(topics, len(topics) // _UNTOLD_TOPICS))
    never = [one for one in items if one.topic in kept]
    if not kept:
        never = list(items[len(items) - len(items) // (1 + _UNTOLD_ITEMS) :])
    return [one for one in items if one not in never], never
