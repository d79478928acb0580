"""Passages of which some are asked for again and again, for ``memlong.py eviction``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from retrieved import ASKED, Line

from memplus.data.stream import Stream, Texts, Told, stated_at
from memplus.evaluation.engine.plan import Plan, Question, steps_of
from memplus.evaluation.tasks.told import Item

__all__ = ["MEASURES", "AskedAgain", "Draw", "Passage", "passages_of"]

_SOURCE = "text"
_LAST = "last"


@dataclass(frozen=True)
class Draw:
    """How much is told, and what is asked for after each segment."""

    tokens: int
    """Told in all, at least."""
    segment: int
    asked: int
    """Questions after each segment."""
    zipf: bool
    """Whether the n-th of the passages, in an order of chance, is drawn with a weight of 1 / n;
    all alike if not."""


class AskedAgain:
    """Passages at equal distances over running text, and what is asked of them.

    Args:
        texts: between them.
        items: told in an order of chance.
        draw: how much.
        seed: of all that is drawn.
    """

    def __init__(self, texts: Texts, items: Sequence[Item], draw: Draw, seed: int) -> None:
        self._draw = draw
        self._seed = seed
        self._random = Random(f"{seed} asked again")
        self._items = self._random.sample(list(items), len(items))
        self._stream = Stream(texts, seed, _SOURCE)
        self._places = list(self._tell())
        ranks = self._random.sample(range(len(items)), len(items))
        self._weights = [1 / (rank + 1) if draw.zipf else 1.0 for rank in ranks]

    def _tell(self) -> Iterator[list[Told]]:
        """Where each passage states the answers of its questions."""
        for number, item in enumerate(self._items):
            self._stream.read_to(self._draw.tokens * number // len(self._items))
            told = self._stream.tell_text(item.text)
            piece = self._stream.pieces[-1]
            yield [stated_at(told, piece, answers) for _, answers in item.questions]
        self._stream.read_to(self._draw.tokens)

    def plan(self) -> Plan:
        """The text with its questions; behind the last segment each passage is asked for once."""
        segment = self._draw.segment
        borders = range(segment, self._stream.tokens + 1, segment)
        due = []
        for at in borders:
            there = self._whole(at)
            for turn in range(self._draw.asked if there else 0):
                (place,) = self._random.choices(there, [self._weights[one] for one in there])
                which = self._random.randrange(len(self._places[place]))
                due.append((at, self._question(f"{place}/{at}/{turn}", ASKED, place, which)))
        for place in self._whole(borders[-1]):
            due.append((borders[-1], self._question(str(place), _LAST, place, 0)))
        name = f"{'zipf' if self._draw.zipf else 'uniform'}, seed {self._seed}"
        return Plan(name, self._seed, steps_of(self._stream, due), ())

    def _whole(self, at: int) -> list[int]:
        """The passages whose last token is among so many of the text."""
        return [place for place, told in enumerate(self._places) if told[0].end <= at]

    def _question(self, key: str, kind: str, place: int, which: int) -> Question:
        text, answers = self._items[place].questions[which]
        return Question(key, kind, text, answers, told=self._places[place][which])


@dataclass(frozen=True)
class Passage:
    """One passage in two banks that were told and asked the same; pairs are of the two."""

    asked: int
    """How often it was asked for before the end."""
    on_the_way: dict[str, tuple[int, int]]
    """Measure -> how many of these questions found it so."""
    at_the_end: dict[str, tuple[bool, bool]]
    """Measure -> whether the last question did."""


def passages_of(one: Sequence[Line], other: Sequence[Line]) -> list[Passage]:
    """What became of every passage.

    Args:
        one: lines of the first bank, of one plan.
        other: of the second.
    """
    asked: dict[str, list[tuple[Line, Line]]] = defaultdict(list)
    last = {}
    for pair in zip(one, other, strict=True):
        place = pair[0]["key"].partition("/")[0]
        if pair[0]["kind"] == ASKED:
            asked[place].append(pair)
        else:
            last[place] = pair
    return [
        Passage(
            len(asked[place]),
            {name: _counts(asked[place], found) for name, found in MEASURES.items()},
            {name: (found(pair[0]), found(pair[1])) for name, found in MEASURES.items()},
        )
        for place, pair in last.items()
    ]


def _counts(pairs: Sequence[tuple[Line, Line]], found: Callable[[Line], bool]) -> tuple[int, int]:
    return sum(found(one) for one, _ in pairs), sum(found(other) for _, other in pairs)


def _is_there(line: Line) -> bool:
    return bool(line["there"])


def _is_retrieved(line: Line) -> bool:
    return line["rank"] is not None


MEASURES: dict[str, Callable[[Line], bool]] = {"there": _is_there, "retrieved": _is_retrieved}
"""Whether its chunk is in the bank, and whether the question retrieves it."""
