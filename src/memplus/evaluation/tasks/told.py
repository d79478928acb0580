"""Passages, statements and corrections told in one stream, each asked after growing distances.

A memory for every question would read the distance anew for each. Here one stream per seed tells
all of them, a few sentences apart, and goes on with running text and other passages; everything is
asked at the first chunk border that is far enough from its last token (``plan.due_at``), and what
falls due together is asked together. The same questions are asked at every distance.

A correction has its earlier version told before it; its distance counts from the later one. What
was never told is asked for too, each item at one of those distances, counted from the last item.

``alone_plans`` tells each item to a session of its own and asks at once: what can be said with the
text just read, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from memplus.data.stream import Piece, Reference, Stream, Texts, Told, stated_at
from memplus.errors import ConfigError
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step, due_at, steps_of

__all__ = ["NEVER_TOLD", "TOLD", "Asked", "Item", "Telling", "alone_plans", "told_plan"]

NEVER_TOLD = "never told"
TOLD = Judge("contains", explained=True, judges_withheld=True)
"""The answer must stand in what was said, or would have been said had it not been withheld."""

_SOURCE = "text"
_BETWEEN = (1, 3)
"""Sentences between two items."""
_OTHERS_EVERY = 12
"""Sentences between two other passages."""
_CORRECTED_AFTER = 5
"""Items between an earlier version and its correction."""

Asked = tuple[str, tuple[str, ...]]
"""A question and its answers, any of which is right."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something told, and what is asked about it."""

    kind: str
    """"SQuAD", "statement", ...: figures are given by kind."""
    text: str
    questions: tuple[Asked, ...]
    distances: tuple[int, ...]
    """Tokens between its last token and its questions."""
    topic: str = ""
    """Its article, story or field."""
    earlier: str = ""
    """What was told before and is no longer so; empty where nothing was."""
    outdated: str | None = None
    """The value that the earlier version states."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What a stream tells and asks."""

    items: tuple[Item, ...]
    """Told and asked."""
    untold: tuple[Item, ...] = ()
    """Asked for and never told: it is right to decline."""
    others: tuple[str, ...] = ()
    """Passages told between sentences of the running text, nobody asks for them; each once."""

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: nothing is told, or an item has no distances.
        """
        if not self.items:
            raise ConfigError("items", value=0, reason="at least one must be told")
        if not all(item.distances for item in self.items):
            raise ConfigError("distances", value="", reason="at least one is needed")


def told_plan(texts: Texts, chunk: int, telling: Telling, seed: int) -> Plan:
    """What is written and asked for one seed.

    Args:
        texts: what the items are told in; begun again where they end too early.
        chunk: questions fall on multiples of so many tokens.
        telling: the items.
        seed: of the items' order and places, the text's order and the session.
    """
    stream = Stream(texts, seed, _SOURCE)
    placed = list(_tell(stream, telling.items, Random(seed)))
    due = [one for item in placed for one in item.due(chunk)]
    due += _due_untold(telling, stream.tokens, chunk)
    _read_among(stream, max(at for at, _ in due), telling.others)
    once = [_blank(one.item, one.index) for one in placed]
    once += [_blank(item, index, NEVER_TOLD) for index, item in enumerate(telling.untold)]
    asked = tuple(question for questions in once for question in questions)
    return Plan(f"seed {seed}", seed, steps_of(stream, due), asked)


def alone_plans(items: Sequence[Item], reference: Reference, seed: int) -> list[Plan]:
    """A plan for each item: it is told to a new session, all of it taken in, and asked for.

    Of a correction the later version is told alone.

    Args:
        items: what is told.
        reference: counts the tokens.
        seed: of the sessions.
    """
    counts = [len(ends) for ends in reference([item.text for item in items])]
    plans = []
    for index, (item, tokens) in enumerate(zip(items, counts, strict=True)):
        told = Told(_SOURCE, 0, tokens)
        once = _blank(item, index)
        asked = tuple(replace(one, wanted=0, distance=0, told=told) for one in once)
        step = Step((item.text,), tokens, _SOURCE, asked, flush=True)
        plans.append(Plan(f"seed {seed}, {item.kind} {index}", seed, (step,), once))
    return plans


@dataclass(frozen=True, slots=True)
class _Placed:
    """An item and where it stands."""

    index: int
    item: Item
    told: Told
    piece: Piece
    """As it was told."""

    def due(self, chunk: int) -> Iterator[tuple[int, Question]]:
        """Its questions, each with the tokens to be written before it."""
        for distance in self.item.distances:
            at = due_at(self.told.end, distance, chunk)
            for one in _blank(self.item, self.index):
                told = stated_at(self.told, self.piece, one.answers)
                yield at, _at(one, distance, at - told.end, told)


def _blank(item: Item, index: int, kind: str = "") -> tuple[Question, ...]:
    """Its questions as they are asked where nothing was told; right answers only if it is."""
    return tuple(
        Question(
            key=f"{kind or item.kind}/{index}/{number}",
            kind=kind or item.kind,
            text=text,
            answers=() if kind == NEVER_TOLD else answers,
            outdated=item.outdated,
        )
        for number, (text, answers) in enumerate(item.questions)
    )


def _at(question: Question, distance: int, since: int, told: Told | None) -> Question:
    key = f"{question.key}/{distance}"
    return replace(question, key=key, wanted=distance, distance=since, told=told)


def _tell(stream: Stream, items: Sequence[Item], random: Random) -> Iterator[_Placed]:
    """Tell the items in an order of chance, a correction's earlier version some items before it."""
    order = random.sample(list(enumerate(items)), len(items))
    waiting: list[tuple[int, int, Item]] = []
    for turn, (index, item) in enumerate(order):
        if item.earlier:
            _apart(stream, random)
            stream.tell_text(item.earlier)
            waiting.append((turn + _CORRECTED_AFTER, index, item))
        else:
            yield _told(stream, index, item, random)
        while waiting and waiting[0][0] <= turn:
            yield _told(stream, *waiting.pop(0)[1:], random)
    for _, index, item in waiting:
        yield _told(stream, index, item, random)


def _told(stream: Stream, index: int, item: Item, random: Random) -> _Placed:
    _apart(stream, random)
    told = stream.tell_text(item.text)
    return _Placed(index, item, told, stream.pieces[-1])


def _apart(stream: Stream, random: Random) -> None:
    stream.read(random.randint(*_BETWEEN))


def _due_untold(telling: Telling, end: int, chunk: int) -> Iterator[tuple[int, Question]]:
    """What was never told, at the distances of everything told, counted from the last item."""
    distances = sorted({distance for item in telling.items for distance in item.distances})
    for turn, item in enumerate(telling.untold):
        distance = distances[turn % len(distances)]
        at = due_at(end, distance, chunk)
        for one in _blank(item, turn, NEVER_TOLD):
            yield at, _at(one, distance, at - end, None)


def _read_among(stream: Stream, length: int, others: Sequence[str]) -> None:
    """Add text, with another passage every dozen sentences, up to ``length`` tokens."""
    left = iter(others)
    while stream.tokens < length:
        stream.read(_OTHERS_EVERY)
        other = next(left, None)
        if other is not None and stream.tokens < length:
            stream.tell_text(other)
