"""What a document is told in one pass: passages one after another, and corrections after them.

Token ids only: no tensors and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from memplus.training.tasks.endless import EndlessItems
from memplus.training.tasks.question_mix import QuestionMix
from memplus.training.tasks.question_texts import Item, TokenQuestion
from memplus.training.tasks.told_before import Key, ToldBefore

__all__ = ["NO_SOURCE", "Pool", "Stretch", "Teller", "Telling", "ToldQuestion", "stretch"]

NO_SOURCE = -1
"""The source of a stretch of the run's own texts."""
_APART = (1, 4)
"""Passages between a statement and its correction."""
_FIRST_TOLD = 0.4
"""Share of corrections of which a pass tells the first part only."""
_CORRECTS = 0.5
"""Share of documents that are told what corrects a part of an earlier pass, where there is any."""
_SOON = 0.3
"""Chance that it comes next."""
_ATTEMPTS = 8
"""Draws before an item is told that is too long, or that the document may still remember."""
_LONG_SEARCH = 100
"""And before such an item is asked for as one that was not told."""


@dataclass(frozen=True, slots=True)
class Telling:
    """An item, and which of its parts are told."""

    item: Item
    source: int
    """Index among the task's sources, or ``NO_SOURCE``."""
    place: int
    """Among the items of that source."""
    parts: tuple[int, ...] = (0,)
    """In this order, some passages apart."""

    @property
    def key(self) -> Key:
        """Of the item."""
        return self.source, self.place


@dataclass(frozen=True, slots=True)
class ToldQuestion:
    """A question about what a stretch tells."""

    telling: Telling
    index: int
    """Among the item's questions."""
    first: int
    """First token of the stretch that can hold the answer."""
    last: int

    @property
    def asked(self) -> TokenQuestion:
        """The question itself."""
        return self.telling.item.questions[self.index]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a document is told in one pass, and what can be asked about it."""

    ids: list[int]
    questions: list[ToldQuestion]
    told: list[tuple[Telling, int, int]]
    """Every item, the last part of it that was told, and the token after that part."""


def stretch(
    length: int,
    draw: Callable[[], Telling],
    between: Sequence[Sequence[int]],
    random: Random,
) -> Stretch:
    """Passages one after another until ``length`` tokens are full; the last one is cut.

    Args:
        length: tokens.
        draw: what is told next.
        between: what may stand between two passages, as token ids.
        random: of what is drawn here.
    """
    ids: list[int] = []
    questions: list[ToldQuestion] = []
    told: dict[int, tuple[Telling, int, int]] = {}
    waiting: list[tuple[int, Telling]] = []

    def tell(telling: Telling, part: int) -> None:
        if ids:
            ids.extend(random.choice(between))
        begin = len(ids)
        ids.extend(telling.item.parts[part])
        told[id(telling)] = telling, part, len(ids)
        # Of what is corrected later, only the later value is asked for.
        if part == telling.parts[-1]:
            questions.extend(
                ToldQuestion(telling, index, begin + one.first, begin + one.last)
                for index, one in enumerate(telling.item.questions)
                if one.part == part
            )

    turn = 0
    while len(ids) < length:
        turn += 1
        due = [one for one in waiting if one[0] <= turn]
        if due:
            waiting.remove(due[0])
            tell(due[0][1], due[0][1].parts[1])
            continue
        telling = draw()
        tell(telling, telling.parts[0])
        if len(telling.parts) > 1:
            waiting.append((turn + 1 + random.randint(*_APART), telling))
    kept = [one for one in questions if one.last < length]
    return Stretch(ids[:length], kept, list(told.values()))


@dataclass(frozen=True)
class Pool:
    """The items of a source and its share of the passages."""

    items: Sequence[Item]
    weight: float

    def of_topic(self, topic: str) -> Sequence[int]:
        """Places of the items on a topic."""
        if isinstance(self.items, EndlessItems):
            return self.items.of_topic(topic)
        return [at for at, one in enumerate(self.items) if one.topic == topic]


class Teller:
    """Chooses what documents are told, and what they are asked though it was not.

    Args:
        pools: of all sources.
        before: what earlier passes told; it is not told again while it may be remembered.
        mix: how often passages are of one topic, or stretches of the run's own texts, and how many
            earlier items a pass corrects.
    """

    def __init__(self, pools: Sequence[Pool], before: ToldBefore, mix: QuestionMix) -> None:
        self.pools = pools
        self.before = before
        self.one_topic = mix.one_topic
        self.plain = mix.plain
        self.corrects = mix.corrects

    def tell(
        self,
        document: int,
        length: int,
        plain: Item | None,
        between: Sequence[Sequence[int]],
        random: Random,
    ) -> Stretch:
        """What one document is told.

        Args:
            document: of this process.
            length: tokens.
            plain: a stretch of the run's own texts, told at most once.
            between: as ``stretch`` takes it.
            random: of the document's pass.
        """
        places: Sequence[Sequence[int]] = [range(len(pool.items)) for pool in self.pools]
        weights = [pool.weight for pool in self.pools]
        choices = [(places, weights)]
        if random.random() < self.one_topic:
            like = random.choice(random.choices(self.pools, weights)[0].items)
            places = [pool.of_topic(like.topic) for pool in self.pools]
            weights = [w * bool(own) for w, own in zip(weights, places, strict=True)]
            choices.insert(0, (places, weights))  # others once the topic has no more
        corrections = self._corrections(document, random)
        given = [Telling(plain, NO_SOURCE, 0)] if plain is not None else []
        drawn: set[Key] = {one.key for one in corrections}

        def draw() -> Telling:
            if corrections and random.random() < _SOON:
                return corrections.pop()
            if given and random.random() < self.plain:
                return given.pop()
            for places, weights in (one for one in choices for _ in range(_ATTEMPTS)):
                key = _drawn(places, weights, random)
                fits = len(self.pools[key[0]].items[key[1]].parts[0]) <= length
                if fits and key not in drawn and not self.before.knows(document, key):
                    break
            else:
                key = _drawn(*choices[0], random)
            drawn.add(key)
            return self._telling(key, random)

        return stretch(length, draw, between, random)

    def _telling(self, key: Key, random: Random) -> Telling:
        item = self.pools[key[0]].items[key[1]]
        both = len(item.parts) > 1 and random.random() >= _FIRST_TOLD
        return Telling(item, *key, (0, 1) if both else (0,))

    def _corrections(self, document: int, random: Random) -> list[Telling]:
        """What corrects parts of earlier passes, or nothing."""
        begun = [
            Telling(item, *key, (1,))
            for key in self.before.begun(document)
            if len((item := self.pools[key[0]].items[key[1]]).parts) > 1
        ]
        if not begun or random.random() >= _CORRECTS:
            return []
        return random.sample(begun, min(self.corrects, len(begun)))

    def untold(self, document: int, told: Stretch, random: Random) -> TokenQuestion:
        """A question about what a document was not told, or remembers no more.

        Where it remembers all there is, as with a handful of passages, any question will do.
        """
        now = {telling.key for telling, _, _ in told.told}
        weights = [pool.weight for pool in self.pools]
        for _ in range(_LONG_SEARCH):
            source = random.choices(range(len(self.pools)), weights)[0]
            place = random.randrange(len(self.pools[source].items))
            if (source, place) not in now and not self.before.knows(document, (source, place)):
                break
        return random.choice(self.pools[source].items[place].questions)


def _drawn(places: Sequence[Sequence[int]], weights: Sequence[float], random: Random) -> Key:
    """Source and place of an item."""
    source = random.choices(range(len(places)), weights)[0]
    return source, random.choice(places[source])
