"""What changes with the steps of a run: whole numbers in ranges, and learning rates.

Numbers only; no tensors.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

__all__ = ["RateSchedule", "Schedule", "rate_factor"]

RateSchedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """A whole number drawn from a range, which may change at given steps.

    Written as ``4``, as ``[1, 8]``, or by the step it holds from: ``{0: 1, 1000: [1, 8]}``.
    """

    points: tuple[tuple[int, int, int], ...]
    """(from this step on, lowest, highest), by rising steps; the first is step 0."""

    @classmethod
    def parse(cls, given: Any) -> Schedule:
        """From its written form.

        Raises:
            ValueError: it is not one of these; the message says what is wrong about it.
        """
        if isinstance(given, Schedule):
            return given
        table = given if isinstance(given, Mapping) else {0: given}
        points = []
        for step, value in table.items():
            low, high = (
                value if isinstance(value, list | tuple) and len(value) == 2 else (value,) * 2
            )
            if not all(type(one) is int for one in (step, low, high)):
                raise ValueError("it must be a whole number, a range [low, high], or steps of them")
            if not 1 <= low <= high:
                raise ValueError(f"a range must rise and start at 1 or more, not at {low}")
            points.append((step, low, high))
        points.sort()
        if not points or points[0][0] != 0:
            raise ValueError("it says nothing for step 0")
        return cls(tuple(points))

    @property
    def lowest(self) -> int:
        """Of all steps."""
        return min(low for _, low, _ in self.points)

    @property
    def highest(self) -> int:
        """Of all steps."""
        return max(high for *_, high in self.points)

    def draw(self, step: int, random: Random) -> int:
        """A number for this step; every doubling of the range is as likely."""
        index = bisect_right([start for start, _, _ in self.points], step) - 1
        _, low, high = self.points[index]
        drawn = math.exp(random.uniform(math.log(low), math.log(high + 1)))
        return max(low, min(high, int(drawn)))


def rate_factor(kind: RateSchedule, step: int, steps: int, warmup: int, final: float) -> float:
    """What the learning rate of a step (from 0) is multiplied by.

    Args:
        kind: how it falls after the warm-up.
        step: number of steps done.
        steps: of the whole run.
        warmup: steps over which it rises.
        final: factor of the last step.
    """
    if step < warmup:
        return (step + 1) / warmup
    if kind == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    left = 1 - done if kind == "linear" else (1 + math.cos(math.pi * done)) / 2
    return final + (1 - final) * left
