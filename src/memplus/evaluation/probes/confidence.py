"""What withholding unsure answers gains and costs: the trade-off behind ``min_confidence``.

Notes are told and asked by a plan as in ``retention``; each answer comes with its confidence. For
every threshold: how many questions with an answer are still answered rightly, how many of the
answers given are wrong, how many questions without an answer are declined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from memplus.errors import ConfigError
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question
from memplus.evaluation.engine.run import Report, judged
from memplus.evaluation.engine.summary import Threshold
from memplus.systems.protocol import Explains, Reply, System

__all__ = ["Asked", "ask_with_confidence", "require_confidence", "trade_off"]

_STEPS = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer."""

    kind: str
    answerable: bool
    """Whether the answer was told."""
    right: bool
    declined: bool
    """The system itself said that there is no answer."""
    confidence: float


def require_confidence(system: System) -> None:
    """Refuse a system that does not say how sure it is.

    Raises:
        ConfigError: it does not.
    """
    if not issubclass(system.sessions, Explains):
        raise ConfigError("system", value=system.name, reason="it does not say how sure it is")


def ask_with_confidence(system: System, plan: Plan, report: Report) -> list[Asked]:
    """Write and ask by a plan, nothing withheld.

    Args:
        system: one that says how sure it is.
        plan: what is told, and asked.
        report: called with (what, done, total).

    Raises:
        ConfigError: the system does not say how sure it is.
    """
    require_confidence(system)
    session = system.open(plan.seed)
    assert isinstance(session, Explains)
    answers: list[Asked] = []
    done = 0
    for step in plan.steps:
        session.write(step.pieces, step.source)
        done += step.tokens
        report("reading", done, plan.tokens)
        replies = session.explain([one.text for one in step.questions], min_confidence=0.0)
        answers += map(_asked, step.questions, replies)
    return answers


def trade_off(answers: Sequence[Asked]) -> list[Threshold]:
    """What each threshold does, from 0 to the highest confidence in equal steps."""
    highest = max((one.confidence for one in answers), default=0.0)
    return [_at(answers, highest * step / _STEPS) for step in range(_STEPS + 1)]


def _asked(question: Question, reply: Reply) -> Asked:
    line = judged(Judge(), question, reply)
    answerable = bool(question.answers)
    confidence = reply.confidence or 0.0
    return Asked(question.kind, answerable, line["right"], reply.declined, confidence)


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
