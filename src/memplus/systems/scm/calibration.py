"""How good the controller of a model is at yes and no, measured beforehand and kept with memplus.

``benchmarks/scm_gate.py`` measures it and writes the files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from memplus.systems.own_adapters import SHIPPED
from memplus.systems.scm.controller import Thresholds

__all__ = ["Answering", "Calibration", "Measured", "best_threshold", "calibration_of", "right_at"]

Answering: TypeAlias = Literal["plain", "tuned", "yes"]
"""Who answers the controller's questions."""

_PATH = "/"


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one question: a threshold, and how often it was right on pairs it was not chosen on."""

    threshold: float
    accuracy: float
    """Mean over pairs whose answer is yes and those whose answer is no, 0 to 1."""
    low: float
    high: float
    """Wilson interval of 95%."""
    pairs: int
    """Held-out pairs, half of them of either answer."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured of a controller; None: nothing was."""

    answers: Measured | None = None
    """Of question 2."""
    gate: Measured | None = None
    """Of question 1."""

    @property
    def thresholds(self) -> Thresholds:
        """Where nothing was measured, yes is what is likelier than no."""
        gate, answers = self.gate, self.answers
        return Thresholds(gate.threshold if gate else 0.0, answers.threshold if answers else 0.0)

    @property
    def said(self) -> str:
        """For people."""
        if self.answers is None:
            return "controller not measured"
        one = self.answers
        return f"controller right in {one.accuracy:.0%} [{one.low:.0%}, {one.high:.0%}]"

    @property
    def identity(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@cache
def calibration_of(model: str, controller: Answering, weights: str = "") -> Calibration:
    """What was measured of a model's controller; nothing where that is not known.

    Args:
        model: its name.
        controller: who answers.
        weights: folder of a tuned controller of one's own, where its figures are kept too; empty:
            of what comes with memplus.
    """
    folder = Path(weights) if weights else SHIPPED / "scm"
    path = folder / f"{model}-{controller}.json"
    if _PATH in model or not path.is_file():
        return Calibration()
    content = json.loads(path.read_text(encoding="utf-8"))
    found = {name: Measured(**content[name]) for name in ("answers", "gate") if name in content}
    return Calibration(**found)


def best_threshold(yes: Sequence[float], no: Sequence[float]) -> float:
    """The threshold that is right most often, as many pairs of either kind being asked.

    Args:
        yes: margins where yes is right; at least one.
        no: margins where no is right; at least one.

    Returns:
        The lowest of the best; a little above all margins where always saying no is best.
    """
    places = [*sorted({*yes, *no}), max(*yes, *no) + 1.0]
    return max(places, key=lambda place: right_at(place, yes, no) / (len(yes) + len(no)))


def right_at(threshold: float, yes: Sequence[float], no: Sequence[float]) -> int:
    """How many margins a threshold judges right."""
    return sum(one >= threshold for one in yes) + sum(one < threshold for one in no)
