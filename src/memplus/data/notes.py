"""Facts and questions made up by rule: what the bundled model is trained and tested on.

A note is one plain sentence about a named person or place, the question that asks for it, and the
one right answer. Everything follows from a seed, so nothing is stored. The two splits share no
name, no open-class value and no wording; names and values are dealt to them by a hash of their
text, so the deal never depends on the order in which they are made.

This room knows words only: the standard library, no tensors and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, get_args

from memplus.data.note_parts import (
    CLOSED,
    CORRECTIONS,
    FIRST_NAMES,
    NAME_HEADS,
    NAME_TAILS,
    PERSON_ATTRIBUTES,
    PLACE_ATTRIBUTES,
    PLACES,
    QUESTIONS,
    STATEMENTS,
    WORD_HEADS,
    WORD_TAILS,
    Split,
    ValueClass,
    split_of,
)

__all__ = [
    "ABSTENTION",
    "MOST_SUBJECTS",
    "NOTED",
    "PROMPT_TEMPLATE",
    "NameSource",
    "Note",
    "Split",
    "ValueClass",
    "corrected",
    "make_notes",
    "namesake",
    "note_on",
    "notes_about",
    "notes_of",
    "retold",
    "side_by_side",
    "untold",
]

ABSTENTION = "I have no note of that."
PROMPT_TEMPLATE = "\nQuestion: {question}\nAnswer:"

NOTED: tuple[tuple[str, ValueClass], ...] = (*PERSON_ATTRIBUTES, *PLACE_ATTRIBUTES)
"""What notes are on: an attribute and the class of its values."""
_FEWEST_ATTRIBUTES = min(len(PERSON_ATTRIBUTES), len(PLACE_ATTRIBUTES))
MOST_SUBJECTS = 16_000
"""Subjects of one split that there are names for, and a few more."""
_PLACE_SHARE = 0.15
_OPEN_SHARE = 0.75
"""Of notes side by side, those on a number or a word whatever else there is."""


@dataclass(frozen=True, slots=True)
class Note:
    """One fact: how it is told, how it is asked, and what it is made of."""

    statement: str
    question: str
    answer: str
    subject: str
    attribute: str
    value_class: ValueClass
    correction: bool = False
    """Whether it replaces an earlier note."""


class NameSource(Protocol):
    """People whose names are not made of the syllables of this file."""

    def draw(self, random: Random, count: int, first_names: int | None = None) -> list[str]:
        """``count`` different names, which share so many first words."""
        ...

    def near(self, name: str, random: Random) -> str:
        """Another name that is nearly the same."""
        ...


def make_notes(
    seed: int | str,
    count: int,
    split: Split,
    *,
    subjects: int | None = None,
    attributes: int | None = None,
    first_names: int | None = None,
) -> list[Note]:
    """``count`` notes; no two ask for the same attribute of the same subject.

    Args:
        seed: the same arguments give the same notes.
        count: how many.
        split: "train", or "held_out": other names, other open-class values, other wordings.
        subjects: how many subjects share the notes; None gives each note its own.
        attributes: how many attributes share the notes; None lets each note draw its own.
        first_names: how many first names the subjects share; None lets each draw its own.

    Raises:
        ValueError: that few subjects and attributes cannot make ``count`` different notes, there
            are not so many subjects, or there is no such split.
    """
    _require_split(split)
    wanted = count if subjects is None else subjects
    if wanted > MOST_SUBJECTS:
        raise ValueError(f"there are names for {MOST_SUBJECTS} subjects, not for {wanted}")
    random = Random(f"{split}/{seed}")
    places = random.random() < _PLACE_SHARE if attributes is not None else None
    first = None if first_names is None else random.sample(FIRST_NAMES, first_names)
    if first is not None:
        places = False
    names = _subjects(random, wanted, split, first, places=places)
    known = None if attributes is None else _attributes(random, attributes, places=bool(places))
    return _notes_of(names, count, known, split, random)


def _require_split(split: Split) -> None:
    if split not in get_args(Split):
        raise ValueError(f"notes are of a split of {', '.join(get_args(Split))}, not of {split!r}")


def notes_of(
    people: Sequence[str],
    seed: int | str,
    count: int,
    split: Split,
    *,
    attributes: int | None = None,
) -> list[Note]:
    """``make_notes`` about people of given names, who share the notes unless they are as many.

    Raises:
        ValueError: that few people and attributes cannot make ``count`` different notes, or there
            is no such split.
    """
    _require_split(split)
    random = Random(f"of/{split}/{seed}")
    known = None if attributes is None else _attributes(random, attributes, places=False)
    return _notes_of(people, count, known, split, random)


def _notes_of(
    names: Sequence[str],
    count: int,
    known: Sequence[tuple[str, ValueClass]] | None,
    split: Split,
    random: Random,
) -> list[Note]:
    if count > len(names) * (len(known) if known else _FEWEST_ATTRIBUTES):
        raise ValueError(f"{len(names)} subjects and {len(known or ())} attributes are too few")
    facts: dict[tuple[str, str], ValueClass] = {}
    while len(facts) < count:
        name = names[len(facts)] if len(names) == count else random.choice(names)
        attribute, value_class = random.choice(known or _table_of(name))
        facts.setdefault((name, attribute), value_class)
    return [_note(random, split, *fact, value_class) for fact, value_class in facts.items()]


def notes_about(
    people: Sequence[str], seed: int | str, split: Split, *, one_attribute: bool = False
) -> list[Note]:
    """A note about each of some people, whatever their names are made of.

    Args:
        people: their names.
        seed: the same arguments give the same notes.
        split: of the wordings and the open-class values.
        one_attribute: all notes are on one attribute of four digits, no two of one value.
    """
    random = Random(f"about/{split}/{seed}")
    numbers = [(name, kind) for name, kind in PERSON_ATTRIBUTES if kind == "number"]
    shared = random.choice(numbers)
    notes: list[Note] = []
    values: set[str] = set()
    for person in people:
        attribute, kind = shared if one_attribute else random.choice(PERSON_ATTRIBUTES)
        note = _note(random, split, person, attribute, kind)
        while one_attribute and note.answer in values:
            note = _note(random, split, person, attribute, kind)
        values.add(note.answer)
        notes.append(note)
    return notes


def note_on(noted: tuple[str, ValueClass], seed: int | str, split: Split) -> Note:
    """A note on a given attribute.

    Args:
        noted: one of ``NOTED``.
        seed: the same arguments give the same note.
        split: of the name, the wording and the open-class value.
    """
    random = Random(f"on/{split}/{seed}")
    (name,) = _subjects(random, 1, split, None, places=noted in PLACE_ATTRIBUTES)
    return _note(random, split, name, *noted)


def side_by_side(people: Sequence[str], seed: int | str, split: Split, near: float) -> list[Note]:
    """A note about each of some people, all on one attribute, values hard to tell apart.

    Args:
        people: their names.
        seed: the same arguments give the same notes.
        split: of the wordings and the open-class values.
        near: share of numbers and words of which one half is that of a value before them.
    """
    random = Random(f"side by side/{split}/{seed}")
    kinds: tuple[ValueClass, ...] = ("number", "number", "word")
    kind = random.choice(kinds) if random.random() < _OPEN_SHARE else None
    attribute, value_class = random.choice(
        [one for one in PERSON_ATTRIBUTES if kind in (None, one[1])]
    )
    values: list[str] = []
    notes: list[Note] = []
    for person in people:
        note = _note(random, split, person, attribute, value_class)
        if value_class not in CLOSED:
            value = note.answer
            while value in values or split_of(value) != split:
                value = _value(random, value_class, split)
            if values and random.random() < near:
                value = _nearly(random.choice(values), value, value_class, split, values, random)
            note = replace(note, statement=note.statement.replace(note.answer, value), answer=value)
        values.append(note.answer)
        notes.append(note)
    return notes


def corrected(note: Note, seed: int | str, split: Split) -> Note:
    """A later note that gives another value for the same attribute of the same subject."""
    random = Random(f"corrected/{split}/{seed}")
    value = note.answer
    while value == note.answer:
        value = _value(random, note.value_class, split)
    wording = random.choice(CORRECTIONS[split])
    statement = wording.format(s=note.subject, a=note.attribute, v=value)
    return replace(note, statement=statement, answer=value, correction=True)


def retold(note: Note, subject: str, seed: int | str, split: Split) -> Note:
    """A note on the same attribute of another subject."""
    random = Random(f"retold/{split}/{seed}")
    return _note(random, split, subject, note.attribute, note.value_class)


def untold(note: Note, seed: int | str, split: Split, told: Collection[str]) -> Note:
    """A note about the same subject and none of the attributes ``told``."""
    random = Random(f"untold/{split}/{seed}")
    known = [one for one in _table_of(note.subject) if one[0] not in told]
    return _note(random, split, note.subject, *random.choice(known))


def namesake(note: Note, seed: int | str, split: Split, others: NameSource | None = None) -> Note:
    """A note on the same attribute of a subject with nearly the same name.

    The first names, the last names, or the first names and half of the last ones are the same.

    Args:
        note: of whose subject.
        seed: the same arguments give the same note.
        split: of the wordings, the open-class values and the name.
        others: makes names like those that are not made up here.

    Raises:
        ValueError: the name is not made up here, and there is no other source.
    """
    random = Random(f"namesake/{split}/{seed}")
    parts = _parts_of(note.subject)
    if parts is None:
        if others is None:
            raise ValueError(f"{note.subject} is not a name made of these syllables")
        return _note(
            random, split, others.near(note.subject, random), note.attribute, note.value_class
        )
    first, head, tail = parts
    last = head + tail
    names = PLACES if first in PLACES else FIRST_NAMES
    kinds = [
        lambda: f"{random.choice(names)} {last}",
        lambda: f"{first} {random.choice(NAME_HEADS)}{random.choice(NAME_TAILS)}",
        lambda: f"{first} {random.choice(NAME_HEADS)}{tail}",
        lambda: f"{first} {head}{random.choice(NAME_TAILS)}",
    ]
    while True:
        subject = random.choice(kinds)()
        if subject != note.subject and split_of(subject) == split:
            return _note(random, split, subject, note.attribute, note.value_class)


def _parts_of(subject: str) -> tuple[str, str, str] | None:
    """First name, head and tail of a name made up here."""
    first, _, last = subject.partition(" ")
    if first not in PLACES and first not in FIRST_NAMES:
        return None
    for head in sorted(NAME_HEADS, key=len, reverse=True):
        if last.startswith(head):
            tail = last.removeprefix(head)
            if tail in NAME_TAILS:
                return first, head, tail
    return None


def _nearly(
    one: str, value: str, kind: ValueClass, split: Split, taken: Collection[str], random: Random
) -> str:
    """A value that has one half of ``one`` and one of ``value``; ``value`` where that is taken."""
    if kind == "number":
        halves = (one[:2], one[2:]), (value[:2], value[2:])
    else:
        halves = _halves(one), _halves(value)
    mixed = random.choice([halves[0][0] + halves[1][1], halves[1][0] + halves[0][1]])
    return mixed if mixed not in taken and split_of(mixed) == split else value


def _halves(word: str) -> tuple[str, str]:
    head = next(one for one in WORD_HEADS if word.startswith(one))
    return head, word.removeprefix(head)


def _note(
    random: Random, split: Split, subject: str, attribute: str, value_class: ValueClass
) -> Note:
    value = _value(random, value_class, split)
    statement = random.choice(STATEMENTS[split]).format(s=subject, a=attribute, v=value)
    question = random.choice(QUESTIONS[split]).format(s=subject, a=attribute)
    return Note(statement, question, value, subject, attribute, value_class)


def _subjects(
    random: Random,
    count: int,
    split: Split,
    first_names: Sequence[str] | None,
    *,
    places: bool | None,
) -> list[str]:
    names: dict[str, None] = {}
    while len(names) < count:
        is_place = random.random() < _PLACE_SHARE if places is None else places
        first = random.choice(PLACES if is_place else first_names or FIRST_NAMES)
        name = f"{first} {random.choice(NAME_HEADS)}{random.choice(NAME_TAILS)}"
        if split_of(name) == split:
            names[name] = None
    return list(names)


def _attributes(random: Random, count: int, *, places: bool) -> list[tuple[str, ValueClass]]:
    table = PLACE_ATTRIBUTES if places else PERSON_ATTRIBUTES
    return random.sample(table, min(count, len(table)))


def _table_of(subject: str) -> list[tuple[str, ValueClass]]:
    return PLACE_ATTRIBUTES if subject.split()[0] in PLACES else PERSON_ATTRIBUTES


def _value(random: Random, value_class: ValueClass, split: Split) -> str:
    if value_class in CLOSED:
        return random.choice(CLOSED[value_class])
    while True:
        if value_class == "number":
            value = f"{random.randrange(1000, 10_000)}"
        else:
            value = random.choice(WORD_HEADS) + random.choice(WORD_TAILS)
        if split_of(value) == split:
            return value
