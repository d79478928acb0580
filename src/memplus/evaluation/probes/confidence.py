"""What withholding unsure answers gains and costs: the trade-off behind ``min_confidence``.

Held-out notes are told and asked as in ``retention``; each answer comes with its confidence. For
every threshold: how many questions with an answer are still answered rightly, how many of the
answers given are wrong, how many questions without an answer are declined.

Shapes: none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from memplus.data.notes import ABSTENTION
from memplus.data.stream import Texts
from memplus.evaluation.engine.plan import Question
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes, retention_plan
from memplus.mplus.asking import Answer
from memplus.mplus.model import MPlus

__all__ = ["Asked", "Threshold", "ask_with_confidence", "trade_off"]

_STEPS = 50

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer."""

    kind: str
    answerable: bool
    """Whether the answer was told."""
    right: bool
    declined: bool
    """The model itself said that it has no note."""
    confidence: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """All questions with answers of less than ``min_confidence`` withheld; shares from 0 to 1."""

    min_confidence: float
    right: float
    """Of the questions whose answer was told."""
    wrong: float
    """Of the answers given."""
    declined: float
    """Of the questions whose answer was never told."""
    wrongly_declined: float
    """Of the questions whose answer was told."""


def ask_with_confidence(
    model: MPlus, texts: Texts, sizes: RetentionSizes, seed: int, report: Report
) -> list[Asked]:
    """Tell notes, read on, and ask for them and for what was never told.

    Args:
        model: as loaded.
        texts: what the notes are told in.
        sizes: how many notes, and how far back they are asked.
        seed: of all of it.
        report: called with (what, done, total).
    """
    plan = retention_plan(texts, model.memory_config.chunk_tokens, sizes, seed)
    memory = model.new_memory(plan.seed)
    answers: list[Asked] = []
    done = 0
    for step in plan.steps:
        model.write(memory, list(step.ids), source=step.source)
        done += len(step.ids)
        report("reading", done, plan.tokens)
        answers += (_asked(one, model.ask(memory, one.text)) for one in step.questions)
    return answers


def trade_off(answers: Sequence[Asked]) -> list[Threshold]:
    """What each threshold does, from 0 to the highest confidence in equal steps."""
    highest = max((one.confidence for one in answers), default=0.0)
    return [_at(answers, highest * step / _STEPS) for step in range(_STEPS + 1)]


def _asked(question: Question, given: Answer) -> Asked:
    return Asked(
        question.kind,
        question.kind == NOTE,
        given.text in question.answers,
        given.text == ABSTENTION,
        given.confidence,
    )


def _at(answers: Sequence[Asked], least: float) -> Threshold:
    known = [one for one in answers if one.answerable]
    unknown = [one for one in answers if not one.answerable]
    given = [one for one in answers if not one.declined and one.confidence >= least]
    return Threshold(
        least,
        _share(one.right and one.confidence >= least for one in known),
        _share(not one.right or not one.answerable for one in given),
        _share(one.declined or one.confidence < least for one in unknown),
        _share(one.declined or one.confidence < least for one in known),
    )


def _share(flags: Iterable[bool]) -> float:
    found = list(flags)
    return sum(found) / len(found) if found else 0.0
