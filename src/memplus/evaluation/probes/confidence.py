"""What withholding unsure answers gains and costs: the trade-off behind ``min_confidence``.

Notes are told and asked as in ``retention``, or what is held out as in ``told``; each answer comes
with its confidence. For every threshold: how many questions with an answer are still answered
rightly, how many of the answers given are wrong, how many questions without an answer are declined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memplus.errors import ConfigError
from memplus.evaluation.engine.summary import Threshold
from memplus.systems.protocol import Explains, System

__all__ = ["Asked", "asked_of", "choose", "require_confidence", "trade_off"]

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


def asked_of(lines: Iterable[Mapping[str, Any]], system: System) -> list[Asked]:
    """A system's answers as a run recorded them, whatever was withheld.

    Args:
        lines: of a run whose judge looks at what was withheld.
        system: whose answers.
    """
    return [
        Asked(
            line["kind"],
            bool(line["answers"]),
            line["right"],
            system.declines(line["said"]),
            line["confidence"],
        )
        for line in lines
        if line["key"] != "end" and line["system"] == system.name
    ]


def trade_off(answers: Sequence[Asked]) -> list[Threshold]:
    """What each threshold does, from 0 to the highest confidence in equal steps."""
    highest = max((one.confidence for one in answers), default=0.0)
    return [_at(answers, highest * step / _STEPS) for step in range(_STEPS + 1)]


def choose(thresholds: Sequence[Threshold], most_declined: float) -> Threshold:
    """The threshold that tells best what was never told from what was.

    That is the largest difference between the shares declined of the one and of the other; of equal
    ones the lowest threshold.

    Args:
        thresholds: rising; at least one.
        most_declined: of what was told, at most so large a share may be declined; where even the
            lowest threshold declines more, it is chosen.
    """
    bearable = [one for one in thresholds if one.wrongly_declined <= most_declined]
    return max(bearable or thresholds[:1], key=lambda one: one.declined - one.wrongly_declined)


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
