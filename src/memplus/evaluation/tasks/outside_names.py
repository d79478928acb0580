"""Notes about people whose names no generator of ours made, and many notes of one attribute.

One stream per seed, told in running text:

- *alone*: notes of the generator's own, for comparison;
- *outside name*: the same kinds of notes about people with given names, one after each of those;
- *one attribute*: many notes of one attribute, a number of four digits each, side by side.

Each note is asked at a distance from its last token; those of one attribute at a distance from the
last of them, so that all are told when the first is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from memplus.data.notes import Note, make_notes, notes_about
from memplus.data.stream import Stream, Texts, Told
from memplus.errors import ConfigError
from memplus.evaluation.engine.plan import Plan, Question, due_at, steps_of
from memplus.evaluation.tasks.note_layouts import ALONE
from memplus.evaluation.tasks.retention import RetentionSizes

__all__ = ["ONE_ATTRIBUTE", "OUTSIDE", "Names", "outside_plan"]

OUTSIDE, ONE_ATTRIBUTE = "outside name", "one attribute"

_SOURCE = "text"
_BETWEEN = (2, 7)
"""Sentences between two notes."""

_Placed = tuple[str, Note, Told, int]
"""Kind, note, where it stands, and the token from which its distance counts."""


@dataclass(frozen=True, slots=True)
class Names:
    """Whose notes are told beside the generator's own."""

    people: tuple[str, ...] = ()
    """Their names; without any the notes of one attribute are about the generator's people."""
    one_attribute: bool = False
    """Whether notes of one attribute are told too."""

    def dealt(self, notes: int, seed: int) -> tuple[list[str], list[str]]:
        """People of an own attribute each, and people of one attribute; nobody is both.

        Raises:
            ConfigError: there are too few.
        """
        needed = notes * (2 if self.one_attribute else 1)
        if self.people and len(self.people) < needed:
            reason = f"there are {len(self.people)} names, and {needed} are needed"
            raise ConfigError("notes", value=notes, reason=reason)
        drawn = Random(f"{seed} names").sample(self.people, len(self.people))
        return drawn[:notes], drawn[notes:needed]


def outside_plan(texts: Texts, chunk: int, sizes: RetentionSizes, seed: int, names: Names) -> Plan:
    """What is written and asked for one seed: ``sizes.notes`` of each kind at each distance.

    Args:
        texts: what the notes are told in; begun again where they end too early.
        chunk: questions fall on multiples of so many tokens.
        sizes: how much.
        seed: of the notes, the text's order and the session.
        names: who is spoken of.

    Raises:
        ConfigError: there are too few names.
    """
    stream = Stream(texts, seed, _SOURCE)
    placed = list(_told(stream, sizes.notes, seed, names))
    due = [
        _due(index, one, distance, chunk)
        for distance in sizes.distances
        for index, one in enumerate(placed)
    ]
    stream.read_to(max(at for at, _ in due))
    once = [
        Question(f"{kind}/{index}", kind, note.question, (note.answer,))
        for index, (kind, note, _, _) in enumerate(placed)
    ]
    return Plan(f"seed {seed}", seed, steps_of(stream, due), tuple(once))


def _told(stream: Stream, notes: int, seed: int, names: Names) -> Iterator[_Placed]:
    random = Random(seed)
    each, shared = names.dealt(notes, seed)
    own = make_notes(f"{seed} own", notes, "held_out")
    outside = notes_about(each, f"{seed} outside", "held_out")
    kinds: list[tuple[str, Sequence[Note]]] = [(ALONE, own), (OUTSIDE, outside)]
    for index in range(notes):
        for kind, made in kinds:
            if index < len(made):
                stream.read(random.randint(*_BETWEEN))
                (told,) = stream.tell(made[index])
                yield kind, made[index], told, told.end
    if names.one_attribute:
        people = shared or _generated(notes, seed, {note.subject for note in own})
        side_by_side = notes_about(people, f"{seed} one attribute", "held_out", one_attribute=True)
        stream.read(random.randint(*_BETWEEN))
        places = stream.tell(*side_by_side)
        for note, told in zip(side_by_side, places, strict=True):
            yield ONE_ATTRIBUTE, note, told, places[-1].end


def _generated(count: int, seed: int, taken: set[str]) -> list[str]:
    """Names of the generator's people of whom nothing was told."""
    made = make_notes(f"{seed} people", 2 * count + len(taken), "held_out", first_names=40)
    return [note.subject for note in made if note.subject not in taken][:count]


def _due(index: int, placed: _Placed, distance: int, chunk: int) -> tuple[int, Question]:
    kind, note, told, end = placed
    at = due_at(end, distance, chunk)
    key = f"{kind}/{index}/{distance}"
    return at, Question(key, kind, note.question, (note.answer,), distance, at - told.end, told)
