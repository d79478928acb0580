"""The rule that says which spans a later one replaces, number by number; slow and readable."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def correlation(one: Sequence[float], other: Sequence[float]) -> float:
    left, right = ([v - mean(values) for v in values] for values in (one, other))
    length = math.sqrt(sum(v * v for v in left)) * math.sqrt(sum(v * v for v in right))
    return sum(a * b for a, b in zip(left, right, strict=True)) / length if length else 0.0


def slow_features(
    queries: Tensor, spans: Sequence[Tensor], births: Sequence[int], i: int, j: int
) -> list[float]:
    """Of earlier span i and later span j, among spans of keys [s, R] that are compared."""
    matches = [[[float(q @ k / k.norm()) for k in keys] for q in queries] for keys in spans]
    best = [[max(of_token) for of_token in span] for span in matches]
    place = [[of_token.index(max(of_token)) for of_token in span] for span in matches]
    cosines = [cosine(spans[i][place[i][t]], spans[j][place[j][t]]) for t in range(len(queries))]
    lengths = [float(q.norm()) for q in queries]
    nearest = [max(cosine(key, other) for other in spans[j]) for key in spans[i]]
    first = max(0, int(median(place[i])) - 8)
    scores = [mean(of_span) for of_span in best]
    others = [score for at, score in enumerate(scores) if at not in (i, j)]
    lower = min(scores[i], scores[j])
    return [
        sum(w * c for w, c in zip(lengths, cosines, strict=True)) / sum(lengths),
        mean(nearest[first : first + 16]),
        mean([max(0.0, a - b) for a, b in zip(best[i], best[j], strict=True)]),
        lower - max(scores),
        lower - (max(others) if others else 0.0),
        correlation(best[i], best[j]),
        1 / max(1.0, abs(births[i] - births[j]) / len(spans[i])),
    ]


def slow_replaced(
    rule: Sequence[float], queries: Tensor, spans: Sequence[Tensor], births: Sequence[int]
) -> set[tuple[int, int]]:
    """Pairs (i, j): i is replaced by j."""
    found = set()
    for i in range(len(spans)):
        for j in range(len(spans)):
            features = slow_features(queries, spans, births, i, j)
            logit = sum(w * f for w, f in zip(rule[:-1], features, strict=True)) + rule[-1]
            if births[i] < births[j] and 1 / (1 + math.exp(-logit)) > 0.7:
                found.add((i, j))
    return found


def slow_lifted(
    scores: Sequence[float], places: Sequence[int], pairs: set[tuple[int, int]]
) -> list[float]:
    """Scores by which spans are chosen, given which of those compared replace which."""
    found = list(scores)
    for _ in places:  # as far as it goes by way of others
        for i, j in pairs:
            found[places[j]] = max(found[places[j]], found[places[i]])
    for i, _ in pairs:
        found[places[i]] = -math.inf
    return found


def some_keys(spans: int, size: int, width: int, seed: int = 0) -> Tensor:
    """[C, s, R], some of them alike."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(spans, size, width, generator=generator)
    keys[1] = keys[0] + 0.3 * torch.randn(size, width, generator=generator)
    return keys
