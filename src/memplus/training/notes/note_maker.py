"""Which notes a step tells and asks for: those that are hard to tell apart, and crowds of them.

This room knows notes, no token ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from random import Random

from memplus.data.notes import (
    NameSource,
    Note,
    Split,
    corrected,
    make_notes,
    namesake,
    notes_of,
    retold,
    side_by_side,
    untold,
)
from memplus.training.notes.recipe import Recipe, Stage

__all__ = ["Crowd", "NoteMaker"]

Crowd = list[list[Note]]
"""Notes of one attribute for each document of a group."""

_SHORTEST = 18
"""Tokens of a note: a document holds no more of them side by side than fit at that length."""
_NEAR_VALUES = (0.0, 0.3, 0.8)
_FEW_FIRST_NAMES = 0.25
"""Share of crowds whose people have three first names among them."""
_SAME_ATTRIBUTE = 0.5
"""Of questions about nobody in stages with crowds, those on an attribute told of others."""


class NoteMaker:
    """Makes up notes.

    Args:
        recipe: sizes and shares.
        split: whose notes.
        others: people of other names, for the recipe's share of notes about such.
    """

    def __init__(self, recipe: Recipe, split: Split, others: NameSource | None) -> None:
        self._recipe = recipe
        self._split = split
        self._others = others

    def _source(self, random: Random) -> NameSource | None:
        """Whose names the next notes are about; None: those of the notes' own generator."""
        share = self._recipe.optimizing.other_names
        return self._others if share and random.random() < share else None

    def _one(self, random: Random) -> Note:
        source = self._source(random)
        seed = random.getrandbits(60)
        if source is None:
            return make_notes(seed, 1, self._split)[0]
        return notes_of(source.draw(random, 1), seed, 1, self._split)[0]

    def correction(self, random: Random) -> tuple[Note, Note]:
        """A note and a later one that corrects it."""
        old = self._one(random)
        return old, corrected(old, random.getrandbits(60), self._split)

    def crowds(self, stage: Stage, random: Random) -> list[Crowd | None]:
        """For every group the notes of one attribute that fill it, or None."""
        groups = stage.documents // stage.group
        if not stage.crowded:
            return [None] * groups
        most = max(2, stage.chunks * self._recipe.memory.chunk_tokens // _SHORTEST)
        counts = [
            [random.randint(2, most) for _ in range(stage.group)]
            if random.random() < stage.crowded
            else []
            for _ in range(groups)
        ]
        people = self._people(sum(map(sum, counts)), random)
        near = random.choice(_NEAR_VALUES)
        notes = iter(side_by_side(people, random.getrandbits(60), self._split, near))
        return [[list(islice(notes, one)) for one in own] or None for own in counts]

    def _people(self, count: int, random: Random) -> list[str]:
        """Different people."""
        source, few = self._source(random), random.random() < _FEW_FIRST_NAMES
        if source is not None:
            return source.draw(random, count, 3 if few else None)
        seed, first_names = random.getrandbits(60), 3 if few else 40
        return [n.subject for n in make_notes(seed, count, self._split, first_names=first_names)]

    def confusable(self, count: int, stage: Stage, random: Random) -> list[Note]:
        """Notes that share their attribute, their first names or subjects, or nothing."""
        if count > 1 and random.random() < stage.namesakes:
            return self._namesakes(count, random)
        source = self._source(random)
        kind = random.random()
        seed = random.getrandbits(60)
        subjects, attributes, first_names = _shared(count, kind)
        if source is None:
            return make_notes(
                seed,
                count,
                self._split,
                subjects=subjects,
                attributes=attributes,
                first_names=first_names,
            )
        people = source.draw(random, subjects or count, first_names)
        return notes_of(people, seed, count, self._split, attributes=attributes)

    def _namesakes(self, count: int, random: Random) -> list[Note]:
        one = self._one(random)
        others = [
            namesake(one, random.getrandbits(60), self._split, self._others)
            for _ in range(count - 1)
        ]
        return [one, *{n.subject: n for n in others if n.subject != one.subject}.values()]

    def untold(
        self,
        near: Sequence[Note],
        told: Mapping[str, set[str]],
        stage: Stage,
        random: Random,
    ) -> Note:
        """A note that nobody told.

        Args:
            near: notes within reach of the question.
            told: the attributes that were told of every subject.
            stage: shares.
            random: decides.
        """
        kind, known_subject = random.random(), self._recipe.optimizing.known_subject
        while True:
            if near and kind < known_subject:
                seed = random.getrandbits(60)
                note = random.choice(near)
                note = untold(note, seed, self._split, told[note.subject])
            elif near and kind < known_subject + (1 - known_subject) * stage.namesakes:
                seed = random.getrandbits(60)
                note = namesake(random.choice(near), seed, self._split, self._others)
            else:
                note = self._one(random)
                if stage.crowded and near and random.random() < _SAME_ATTRIBUTE:
                    note = self._of_another(note.subject, random.choice(near), random)
            if note.attribute not in told.get(note.subject, ()):
                return note

    def _of_another(self, subject: str, note: Note, random: Random) -> Note:
        return retold(note, subject, random.getrandbits(60), self._split)


def _shared(count: int, kind: float) -> tuple[int | None, int | None, int | None]:
    """How many subjects, attributes and first names some notes share; None: each its own."""
    if count == 1 or kind < 0.2:
        return None, None, None
    if kind < 0.4:
        return None, 1, None
    if kind < 0.55:
        return None, 1, 1
    if kind < 0.85 or count > 4:
        return (count + 1) // 2, None, None
    return 1, None, None
