"""A slow reference of ``memplus.memory.trellis``: one row, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence

HALVES = {
    2: (0.1945, 0.6041, 1.0798, 1.8617),
    3: (0.1058, 0.2997, 0.5214, 0.7456, 1.0107, 1.3270, 1.7675, 2.4513),
    4: (
        *(0.0512, 0.1349, 0.2388, 0.3259, 0.4327, 0.5290, 0.6434, 0.7529),
        *(0.8826, 1.0161, 1.1752, 1.3614, 1.5940, 1.8895, 2.2877, 2.8962),
    ),
}


def level_of(code: int, register: tuple[int, int, int], bits: int) -> float:
    """The level of a code after a register of the last three bits, the newest first."""
    levels = sorted([*HALVES[bits], *(-one for one in HALVES[bits])])
    bit = code % 2
    newest, middle, oldest = register
    subset = 2 * ((bit + newest + oldest) % 2) + middle
    return levels[subset + 4 * (code // 2)]


def levels_after(codes: Sequence[int], bits: Sequence[int]) -> list[float]:
    """The levels of a row's codes."""
    register, found = (0, 0, 0), []
    for code, count in zip(codes, bits, strict=True):
        found.append(level_of(code, register, count))
        register = (code % 2, *register[:2])
    return found


def nearest_levels(
    numbers: Sequence[float], bits: Sequence[int], weights: Sequence[float] | None = None
) -> list[float]:
    """Of all rows of levels that codes can name, the one nearest to these numbers."""
    best: dict[tuple[int, int, int], tuple[float, list[float]]] = {(0, 0, 0): (0.0, [])}
    counted = [1.0] * len(numbers) if weights is None else weights
    for number, count, weight in zip(numbers, bits, counted, strict=True):
        after: dict[tuple[int, int, int], tuple[float, list[float]]] = {}
        for register, (total, levels) in best.items():
            for code in range(2**count):
                level = level_of(code, register, count)
                path = total + weight * (number - level) ** 2, [*levels, level]
                reached = (code % 2, *register[:2])
                after[reached] = min(path, after.get(reached, (math.inf, [])))
        best = after
    return min(best.values())[1]


def at_unit(numbers: Sequence[float]) -> list[float]:
    """Numbers over what all of them deviate by."""
    deviation = math.sqrt(sum(one * one for one in numbers) / len(numbers))
    return [one / deviation for one in numbers]


def byte_of(scale: float) -> float:
    """A scale to an eighth of a doubling."""
    return 2.0 ** (round(8 * math.log2(scale)) / 8)
