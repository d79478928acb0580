"""The middle of differences, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

__all__ = ["interval"]


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The mean and half of its 95% interval; NaN where too few are there to say."""
    if len(differences) < 2:
        return (fmean(differences) if differences else math.nan), math.nan
    return fmean(differences), 1.96 * stdev(differences) / math.sqrt(len(differences))
