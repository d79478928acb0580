"""The retention curve: notes told in running text, each asked after growing distances.

One stream per seed. Its first part tells the notes, a few sentences apart; all that follows is
text with a note about somebody else every dozen sentences. Each note is asked at a chunk border at
which the distance has been written since its last token (``plan.due_at``), so that everything
asked for lies in the memory and nothing in a tail. The same notes are asked at every distance.

For every fourth note a subject that nobody ever named, and an attribute of the note's own subject
that was never told, are asked for beside it: the right answer is that there is no note.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import isfinite
from random import Random

from memplus.data.notes import Note, make_notes, notes_about, untold
from memplus.data.stream import Stream, Texts, Told
from memplus.errors import ConfigError
from memplus.evaluation.engine.plan import Plan, Question, due_at, steps_of

__all__ = [
    "NOTE",
    "UNKNOWN",
    "UNTOLD",
    "RetentionSizes",
    "other_notes",
    "parse_distances",
    "parse_tokens",
    "read_among_others",
    "retention_plan",
]

NOTE, UNKNOWN, UNTOLD = "note", "unknown subject", "untold attribute"

SOURCE = "text"
_BETWEEN = (2, 7)
"""Sentences between two notes that will be asked."""
_OTHERS_EVERY = 12
"""Sentences between two other notes."""
_UNTOLD_EVERY = 4
"""Of the notes, one in so many has questions beside it that cannot be answered."""
_MOST_NOTES = 4000
_BLOCK = 200
"""Other notes made at a time."""
_UNITS = {"": 1, "k": 1000, "m": 1_000_000}


@dataclass(frozen=True, slots=True)
class RetentionSizes:
    """How much is told and asked."""

    notes: int = 200
    """Notes per seed; each is asked at every distance."""
    distances: tuple[int, ...] = ()
    """Tokens written between a note and its question, rising."""

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ConfigError: no notes, more than there are names for, or no distances.
        """
        if not 1 <= self.notes <= _MOST_NOTES:
            reason = f"it must be from 1 to {_MOST_NOTES}"
            raise ConfigError("notes", value=self.notes, reason=reason)
        if not self.distances:
            raise ConfigError("distances", value="", reason="at least one is needed")


def parse_distances(text: str, field: str = "distances") -> tuple[int, ...]:
    """Distances as people write them ("1k,160k,1M"; k is a thousand), rising, each once.

    Raises:
        ConfigError: one of them is no number of tokens; ``field`` is what the message calls them.
    """
    return tuple(sorted({parse_tokens(part, field) for part in text.split(",")}))


def parse_tokens(text: str, field: str = "tokens") -> int:
    """A number of tokens as people write it ("160k", "1M"; k is a thousand).

    Raises:
        ConfigError: the text is no number; ``field`` is what the message calls it.
    """
    bare = text.strip().lower()
    unit = bare[-1:] if bare[-1:] in ("k", "m") else ""
    try:
        number = float(bare.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        number = -1.0
    if not isfinite(number) or number < 0 or number != int(number):
        reason = "it must look like 500, 160k or 1M (tokens; k is a thousand)"
        raise ConfigError(field, value=text.strip(), reason=reason)
    return int(number)


def retention_plan(
    texts: Texts, chunk: int, sizes: RetentionSizes, seed: int, people: Sequence[str] = ()
) -> Plan:
    """What is written and asked for one seed.

    Args:
        texts: what the notes are told in; begun again where they end too early.
        chunk: questions fall on multiples of so many tokens.
        sizes: how much.
        seed: of the notes, their places, the text's order and the memory.
        people: names of those of whom is told and asked; without any the notes' own generator
            makes names up.

    Raises:
        ConfigError: there are fewer people than are told of and asked for.
    """
    random = Random(seed)
    stream = Stream(texts, seed, SOURCE)
    asked, unknown = _people_notes(sizes.notes, people, seed)
    told = []
    for note in asked:
        stream.read(random.randint(*_BETWEEN))
        told += stream.tell(note)
    last = max(due_at(told[-1].end, distance, chunk) for distance in sizes.distances)
    known = {note.subject for note in asked}
    known |= read_among_others(stream, last, other_notes(seed, known))
    strangers = unknown or _strangers(len(asked), known, seed)
    due = [
        (at, question)
        for distance in sizes.distances
        for at, question in _questions(asked, told, strangers, distance, chunk, seed)
    ]
    return Plan(
        name=f"seed {seed}",
        seed=seed,
        steps=steps_of(stream, due),
        once=tuple(
            Question(f"{NOTE}/{index}", NOTE, note.question, (note.answer,))
            for index, note in enumerate(asked)
        ),
    )


def _people_notes(number: int, people: Sequence[str], seed: int) -> tuple[list[Note], list[Note]]:
    """Notes on given people, and one for each of them on another whom nothing is told about.

    Without people: notes on people that are made up, and none on others.
    """
    if not people:
        return make_notes(seed, number, "held_out"), []
    if len(people) < 2 * number:
        reason = f"there are {len(people)} names, and {2 * number} are needed"
        raise ConfigError("notes", value=number, reason=reason)
    drawn = Random(f"{seed} names").sample(people, 2 * number)
    notes = notes_about(drawn, f"{seed} outside", "held_out")
    return notes[:number], notes[number:]


def read_among_others(stream: Stream, length: int, others: Iterator[Note]) -> set[str]:
    """Add text, with a note about somebody else every dozen sentences, up to ``length`` tokens.

    Returns:
        The subjects of those notes.
    """
    subjects = set()
    while stream.tokens < length:
        stream.read(_OTHERS_EVERY)
        note = next(others)
        stream.tell(note)
        subjects.add(note.subject)
    return subjects


def other_notes(seed: int, taken: set[str]) -> Iterator[Note]:
    """Endless notes on other subjects than those asked about, who may be told of more than once."""
    for block in count():
        made = make_notes(f"{seed} others {block}", _BLOCK, "held_out", subjects=_BLOCK // 2)
        yield from (note for note in made if note.subject not in taken)


def _questions(
    asked: Sequence[Note],
    told: Sequence[Told],
    strangers: Sequence[Note],
    distance: int,
    chunk: int,
    seed: int,
) -> Iterator[tuple[int, Question]]:
    """The questions of one distance, each with the tokens to be written before it."""
    for index, (note, place) in enumerate(zip(asked, told, strict=True)):
        at = due_at(place.end, distance, chunk)
        since = at - place.end
        key = f"{NOTE}/{index}/{distance}"
        yield at, Question(key, NOTE, note.question, (note.answer,), distance, since, place)
        if index % _UNTOLD_EVERY:
            continue
        other = untold(note, f"{seed}/{distance}/{index}", "held_out", {note.attribute})
        for kind, text in ((UNKNOWN, strangers[index].question), (UNTOLD, other.question)):
            key = f"{kind}/{index}/{distance}"
            yield at, Question(key, kind, text, (), distance, since)


def _strangers(number: int, known: set[str], seed: int) -> list[Note]:
    """Notes on subjects that nothing was told about."""
    made = make_notes(f"{seed} strangers", 100 + 2 * number, "held_out")
    return [note for note in made if note.subject not in known][:number]
