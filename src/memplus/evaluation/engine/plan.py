"""What is to be written and asked: a plan is made before any model runs, and always the same.

Shapes: none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from memplus.data.stream import Told

__all__ = ["Plan", "Question", "Step", "due_at", "steps_of"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question, asked once, of every method that keeps something."""

    key: str
    """Tells it from all others of its plan."""
    kind: str
    """What is tested: "note", "unknown", ..."""
    text: str
    answers: tuple[str, ...]
    """Any of them is right."""
    wanted: int | None = None
    """The distance asked for, in tokens since the note; None where nothing was told."""
    distance: int | None = None
    """The distance at which it is asked: ``wanted``, or a little more (``due_at``)."""
    told: Told | None = None
    """Where its answer was told; None where it never was."""
    outdated: str | None = None
    """What was right before it was corrected."""


@dataclass(frozen=True, slots=True)
class Step:
    """Text to write, and what is asked right after it."""

    ids: Sequence[int]
    source: str
    questions: tuple[Question, ...]
    flush: bool = False
    """Write what fills no chunk too; otherwise it waits in the memory's tail."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one memory reads and is asked."""

    name: str
    seed: int
    """Of the memory."""
    steps: tuple[Step, ...]
    once: tuple[Question, ...]
    """Asked of a memory that was told nothing."""

    @property
    def tokens(self) -> int:
        """Tokens written in all."""
        return sum(len(step.ids) for step in self.steps)

    @property
    def questions(self) -> Iterator[Question]:
        """Those of the steps, in order."""
        return (question for step in self.steps for question in step.questions)


def due_at(end: int, distance: int, chunk: int) -> int:
    """Tokens to be written before a note that ends at ``end`` is asked at a distance.

    The first chunk border that is far enough; or the first of every so many, as long as that adds
    less than a hundredth of the distance, so that questions of several notes share a batch.
    """
    grain = chunk * max(1, distance // (100 * chunk))
    return -(-(end + distance) // grain) * grain


def steps_of(
    ids: Sequence[int], source: str, asked: Iterable[tuple[int, Question]]
) -> tuple[Step, ...]:
    """A stream cut where questions are due, after the last of which nothing is written.

    Args:
        ids: the stream.
        source: its name.
        asked: (tokens written before, question).
    """
    due: dict[int, list[Question]] = defaultdict(list)
    for at, question in asked:
        due[at].append(question)
    steps = []
    start = 0
    for at in sorted(due):
        steps.append(Step(ids[start:at], source, tuple(due[at])))
        start = at
    return tuple(steps)
