"""The rule of counter eviction, for rows and for whoever counts them beforehand.

Shapes: n rows, or groups of rows with the same counter.
"""

from __future__ import annotations

from torch import Tensor

from memplus.config import CounterEviction

__all__ = ["merged"]

# A counter at or below this has run out (value of the published code).
_SPENT = 0.01


def merged(
    counters: Tensor, rule: CounterEviction, retrieved: int, counts: Tensor | None = None
) -> tuple[Tensor, Tensor] | None:
    """What a merge leaves of counters, or None where it changes none and takes no row out.

    Args:
        counters: [n].
        rule: what a counter loses.
        retrieved: M; unless more rows than these would be left, all stay.
        counts: [n] rows that have each counter; None: one.

    Returns:
        [n] the counters after it, and whether a row stays.
    """
    after = counters - rule.decay
    alive = after > _SPENT
    left = alive.sum() if counts is None else counts[alive].sum()
    return (after, alive) if int(left) > retrieved else None
