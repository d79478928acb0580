"""How far apart two are that were asked the same, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from memplus.evaluation.engine.summary import Z, half_width, wilson

__all__ = ["Pairs", "counted", "interval", "interval_of_groups", "shown_count", "shown_share"]


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The mean and half of its 95% interval; NaN where too few are there to say."""
    if len(differences) < 2:
        return (fmean(differences) if differences else math.nan), math.nan
    return fmean(differences), half_width(differences)


def interval_of_groups(sums: Sequence[float], counts: Sequence[int]) -> tuple[float, float]:
    """The mean of differences that come in groups, and half of its 95% interval, for which groups
    count as independent and what is in one does not; NaN where there are fewer than two groups.

    Args:
        sums: of each group's differences.
        counts: how many each group has.
    """
    groups, whole = len(sums), sum(counts)
    if not whole:
        return math.nan, math.nan
    middle = sum(sums) / whole
    if groups < 2:
        return middle, math.nan
    squares = sum((one - middle * count) ** 2 for one, count in zip(sums, counts, strict=True))
    return middle, Z * math.sqrt(squares * groups / (groups - 1)) / whole


def shown_share(right: int, asked: int) -> str:
    """A share in percent and its 95% interval: ``57% (37-76)``."""
    if not asked:
        return "none asked"
    low, high = wilson(right, asked)
    return f"{right / asked:.0%} ({100 * low:.0f}-{100 * high:.0f})"


def counted(right: Sequence[bool]) -> dict[str, Any]:
    """How many are right, of how many, and the bounds of the share's 95% interval."""
    low, high = wilson(sum(right), len(right)) if right else (0.0, 1.0)
    return {"count": sum(right), "of": len(right), "low": round(low, 3), "high": round(high, 3)}


def shown_count(value: Any) -> str:
    """What ``counted`` gave, for a table: ``4 of 12 (14%-61%)``; anything else as it is."""
    if not isinstance(value, dict):
        return str(value)
    return f"{value['count']} of {value['of']} ({value['low']:.0%}-{value['high']:.0%})"


@dataclass(frozen=True)
class Pairs:
    """The same questions, right or wrong by two."""

    both: int
    first: int
    """Right by the first alone."""
    second: int
    neither: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[bool, bool]]) -> Pairs:
        """Count them."""
        found = list(pairs)
        return cls(*(found.count(one) for one in _KINDS))

    @property
    def asked(self) -> int:
        """Of all kinds."""
        return self.both + self.first + self.second + self.neither

    @property
    def shares(self) -> tuple[float, float]:
        """What is right by the first, and by the second; NaN where nothing was asked."""
        if not self.asked:
            return math.nan, math.nan
        return (self.both + self.first) / self.asked, (self.both + self.second) / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the difference of the shares (Newcombe's tenth method of 1998).

        It puts the Wilson intervals of the two together by how alike the answers are, and so has a
        width where no question tells the two apart.
        """
        one, other = self.shares
        low, high = wilson(self.both + self.first, self.asked)
        other_low, other_high = wilson(self.both + self.second, self.asked)
        below = _together(one - low, other_high - other, self._likeness)
        above = _together(high - one, other - other_low, self._likeness)
        return one - other - below, one - other + above

    @property
    def _likeness(self) -> float:
        """The correlation of the answers, what chance gives taken off where it is above 0."""
        sides = (self.both + self.first) * (self.second + self.neither)
        sides *= (self.both + self.second) * (self.first + self.neither)
        if not sides:
            return 0.0
        alike = self.both * self.neither - self.first * self.second
        if alike > 0:
            alike = max(alike - self.asked / 2, 0.0)
        return alike / math.sqrt(sides)

    @property
    def chance(self) -> float:
        """How likely at least so uneven a split of the questions is that one alone gets right,
        if either is as likely to be that one: the exact test of McNemar, of both sides.
        """
        uneven = self.first + self.second
        least = min(self.first, self.second)
        return min(1.0, 2 * sum(math.comb(uneven, n) for n in range(least + 1)) / 2**uneven)


_KINDS = ((True, True), (True, False), (False, True), (False, False))


def _together(one: float, other: float, likeness: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * likeness * one * other + other**2))
