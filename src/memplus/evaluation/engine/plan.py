"""What is to be written and asked: a plan is made before any system runs, and always the same.

A plan carries text. Its numbers are tokens of one reference tokenizer, so that distances mean the
same for every system. A question may be due in the middle of a sentence, since some systems take
text in by chunks: the sentence is then cut in two pieces that are tokenised as the whole was.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from memplus.data.stream import Piece, Stream, Told, cut
from memplus.evaluation.engine.judging import Rule

__all__ = ["Plan", "Question", "Step", "due_at", "steps_of"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question, asked once, of every system that keeps something."""

    key: str
    """Tells it from all others of its plan."""
    kind: str
    """What is tested: "note", "unknown", ..."""
    text: str
    answers: tuple[str, ...]
    """Any of them is right; where there are none it is right to decline."""
    wanted: int | None = None
    """The distance asked for, in tokens since the note; None where nothing was told."""
    distance: int | None = None
    """The distance at which it is asked: ``wanted``, or a little more (``due_at``)."""
    told: Told | None = None
    """Where its answer was told; None where it never was."""
    outdated: str | None = None
    """What was right before it was corrected."""
    options: tuple[str, ...] = ()
    """What is chosen from, where the judge looks at likelihoods instead of words; or all that could
    be named, where it looks for labels."""
    answer_start: str | None = None
    """What an answer begins with, where likelihoods are looked at; None: the text of the question
    is read as it stands, without the model's template."""
    rule: Rule | None = None
    """By which it is judged, where that is another than its judge's."""
    evidence: tuple[Told, ...] = ()
    """All places that its answer is drawn from, where a benchmark names them."""
    marks: tuple[str, ...] = ()
    """What figures may tell apart beside the kind."""


@dataclass(frozen=True, slots=True)
class Step:
    """Text to write, and what is asked right after it."""

    pieces: tuple[str, ...]
    """The text, in pieces that are tokenised each by itself."""
    tokens: int
    """Of all pieces, by the reference tokenizer."""
    source: str
    questions: tuple[Question, ...]
    flush: bool = False
    """Whether what would wait for more text is taken in too."""
    turns: tuple[tuple[int, int], ...] = ()
    """Of a dialogue: for each turn the number of pieces that one side says, and of those that the
    other answers with; in order, they are all the pieces. Empty: the text is no dialogue."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one session of a system reads and is asked."""

    name: str
    seed: int
    """Of the session."""
    steps: tuple[Step, ...]
    once: tuple[Question, ...]
    """Asked of systems that keep nothing."""

    @property
    def tokens(self) -> int:
        """Tokens written in all."""
        return sum(step.tokens for step in self.steps)

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


def steps_of(stream: Stream, asked: Iterable[tuple[int, Question]]) -> tuple[Step, ...]:
    """A stream cut where questions are due, after the last of which nothing is written.

    Where no two pieces are tokenised as the whole, questions come a little later, and their
    distance says so.

    Args:
        stream: all of it.
        asked: (tokens written before, question).
    """
    due: dict[int, list[Question]] = defaultdict(list)
    for at, question in asked:
        due[at].append(question)
    left = deque(stream.pieces)
    steps: list[Step] = []
    written = 0
    for at in sorted(due):
        taken = _take(left, at - written, stream)
        written += sum(len(piece) for piece in taken)
        questions = [_later(question, written - at) for question in due[at]]
        tokens = sum(len(piece) for piece in taken)
        pieces = tuple(piece.text for piece in taken)
        steps.append(Step(pieces, tokens, stream.source, tuple(questions)))
    return tuple(steps)


def _take(left: deque[Piece], tokens: int, stream: Stream) -> list[Piece]:
    """The next pieces of so many tokens, the last of them cut where it must be."""
    taken: list[Piece] = []
    while tokens > 0 and left:
        piece = left.popleft()
        parts = cut(piece, tokens, stream.reference) if len(piece) > tokens else None
        now, later = parts or ([piece], [])
        left.extendleft(reversed(later))
        taken += now
        tokens -= sum(len(part) for part in now)
    return taken


def _later(question: Question, tokens: int) -> Question:
    if not tokens or question.distance is None:
        return question
    return replace(question, distance=question.distance + tokens)
