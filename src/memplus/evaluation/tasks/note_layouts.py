"""Notes in other layouts than one by itself between two sentences.

One stream per seed, in which every layout takes its turn:

- *alone*: one note between two sentences, for comparison;
- *waiting*: the same note, asked as soon as it is told: of its last chunk nothing is written yet;
- *paragraph*: several notes in a row, all asked for;
- *across a border*: a note that begins in one chunk and ends in the next;
- *corrected*: a note whose value is told anew some thousand tokens later; the later one counts;
- *same first name*: two people with one first name and one attribute, told apart, both asked for.

Each is asked, as in ``retention``, at a distance from its last token; a corrected one at a
distance from the correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from random import Random

from memplus.data.notes import Note, corrected, make_notes
from memplus.data.stream import Stream, Texts, Told
from memplus.evaluation.engine.plan import Plan, Question, due_at, steps_of
from memplus.evaluation.tasks.retention import RetentionSizes

__all__ = ["LAYOUTS", "layouts_plan"]

ALONE, WAITING = "alone", "waiting"
PARAGRAPH, BORDER = "paragraph", "across a border"
CORRECTED, SAME_NAME = "corrected", "same first name"
LAYOUTS = (ALONE, WAITING, PARAGRAPH, BORDER, CORRECTED, SAME_NAME)

_SOURCE = "text"
_BETWEEN = (2, 7)
"""Sentences between two notes or paragraphs."""
_IN_PARAGRAPH = 5
_CORRECTED_AFTER = 5
"""Rounds between a note and its correction."""

_Placed = tuple[str, Note, Told, str | None]
"""Layout, note, where it stands, and the value that it corrects."""


def layouts_plan(texts: Texts, chunk: int, sizes: RetentionSizes, seed: int) -> Plan:
    """What is written and asked for one seed: ``sizes.notes`` questions per layout and distance.

    Arguments as ``retention_plan``.

    Raises:
        ConfigError: the text leaves no place for a note across a border.
    """
    stream = Stream(texts, seed, _SOURCE)
    teller = _Teller(stream, chunk, seed)
    for number in range(sizes.notes + _CORRECTED_AFTER):
        teller.round(number, sizes.notes)
    due = [
        _due(index, placed, distance, chunk)
        for distance in sizes.distances
        for index, placed in enumerate(teller.placed)
    ]
    stream.read_to(max(at for at, _ in due))
    for index, (kind, note, told, _) in enumerate(teller.placed):
        if kind == ALONE:
            key = f"{WAITING}/{index}"
            asked = Question(key, WAITING, note.question, (note.answer,), 0, 0, told)
            due.append((told.end, asked))
    once = [
        Question(f"{kind}/{index}", kind, note.question, (note.answer,))
        for index, (kind, note, _, _) in enumerate(teller.placed)
    ]
    return Plan(f"seed {seed}", seed, steps_of(stream, due), tuple(once))


def _due(index: int, placed: _Placed, distance: int, chunk: int) -> tuple[int, Question]:
    kind, note, told, older = placed
    at = due_at(told.end, distance, chunk)
    key = f"{kind}/{index}/{distance}"
    since = at - told.end
    return at, Question(key, kind, note.question, (note.answer,), distance, since, told, older)


class _Teller:
    """Tells every layout once a round; no two rounds speak of the same subject."""

    def __init__(self, stream: Stream, chunk: int, seed: int) -> None:
        self.stream = stream
        self.chunk = chunk
        self.seed = seed
        self.random = Random(seed)
        self.placed: list[_Placed] = []
        self._taken: set[str] = set()
        self._seeds = count()
        self._to_correct: list[Note] = []

    def round(self, number: int, rounds: int) -> None:
        """One of each layout while there are rounds left; corrections come some rounds later."""
        if number < rounds:
            self._simple(number)
        if number >= _CORRECTED_AFTER:
            note = self._to_correct[number - _CORRECTED_AFTER]
            newer = corrected(note, f"{self.seed}/{number}", "held_out")
            self._tell(CORRECTED, [newer], older=note.answer)

    def _simple(self, number: int) -> None:
        self._tell(ALONE, self._notes(1))
        if number % _IN_PARAGRAPH == 0:
            self._tell(PARAGRAPH, self._notes(_IN_PARAGRAPH, subjects=3))
        self._apart()
        (note,) = self._notes(1)
        self.placed.append((BORDER, note, self.stream.tell_across(self.chunk, note), None))
        self._to_correct += self._notes(1)
        self._apart()
        self.stream.tell(self._to_correct[-1])
        if number % 2 == 0:
            for namesake in self._notes(2, subjects=2, attributes=1, first_names=1):
                self._tell(SAME_NAME, [namesake])

    def _apart(self) -> None:
        self.stream.read(self.random.randint(*_BETWEEN))

    def _tell(self, kind: str, notes: Sequence[Note], older: str | None = None) -> None:
        self._apart()
        told = self.stream.tell(*notes)
        self.placed += [(kind, note, at, older) for note, at in zip(notes, told, strict=True)]

    def _notes(self, number: int, **shared: int) -> list[Note]:
        while True:
            notes = make_notes(
                f"{self.seed} layout {next(self._seeds)}", number, "held_out", **shared
            )
            subjects = {note.subject for note in notes}
            if subjects.isdisjoint(self._taken):
                self._taken |= subjects
                return notes
