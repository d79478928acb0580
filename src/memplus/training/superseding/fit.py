"""A logistic rule fitted to pairs of spans, and how well one tells them apart.

Shapes: n pairs, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.errors import TrainingStartError
from memplus.memory.superseding import LEAST, logits
from memplus.training.superseding.pairs import Pairs

__all__ = ["Told", "cross_validated", "fit_rule", "told_apart"]

_RIDGE = 1.0
"""What the square of a standardised weight costs, beside the loss summed over all pairs."""
_STEPS, _CLOSE = 100, 1e-9
_FOLDS = 5


@dataclass(frozen=True)
class Told:
    """How a rule tells pairs in which the later span replaces the earlier one from all others."""

    pairs: int
    replaced: int
    """Of these, so many are such pairs."""
    area: float | None
    """Under the curve: how often such a pair is more likely by the rule than another one; None
    where pairs of one kind are missing, as below."""
    found: float | None
    """Share of such pairs that reach the threshold."""
    mistaken: float | None
    """Share of all others that do."""


def fit_rule(pairs: Pairs) -> Tensor:
    """The rule that suits pairs best, by Newton's method.

    Every dtype that a model may be in holds its numbers exactly, so it is the same rule in all.

    Args:
        pairs: to fit it to.

    Returns:
        [F + 1] weights of the features, and the bias; float32.

    Raises:
        TrainingStartError: the pairs are all of one kind.
    """
    if not _has_both(pairs):
        raise TrainingStartError(
            f"{int(pairs.replaced.sum())} of {len(pairs)} pairs of spans are of something told and "
            "its correction; a rule is fitted to some that are and some that are not"
        )
    features, labels = pairs.features, pairs.replaced.double()
    mean, spread = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    ones = torch.ones(len(features), 1, dtype=torch.float64)
    standard = torch.cat([(features - mean) / spread, ones], dim=1)
    weights = _newton(standard, labels, torch.zeros(len(features), dtype=torch.float64))
    # The bias makes up for what rounding the weights changed.
    rounded = (weights[:-1] / spread).bfloat16().double()
    bias = _newton(ones, labels, features @ rounded)
    return torch.cat([rounded, bias]).bfloat16().float()


def _has_both(pairs: Pairs) -> bool:
    """Whether there are pairs of both kinds."""
    return 0 < int(pairs.replaced.sum()) < len(pairs)


def _newton(inputs: Tensor, labels: Tensor, offset: Tensor) -> Tensor:
    """Weights of the inputs [n, w], the last of which is the bias and costs nothing.

    Args:
        inputs: standardised.
        labels: [n] 0 or 1.
        offset: [n] added to every logit.
    """
    ridge = torch.full((inputs.shape[1],), _RIDGE, dtype=torch.float64)
    ridge[-1] = 0
    weights = torch.zeros_like(ridge)
    for _ in range(_STEPS):
        likely = torch.sigmoid(inputs @ weights + offset)
        slope = inputs.T @ (likely - labels) + ridge * weights
        bend = (inputs * (likely * (1 - likely)).clamp(min=1e-12)[:, None]).T @ inputs
        step = torch.linalg.solve(bend + torch.diag(ridge), slope)
        weights = weights - step * min(1.0, 5 / float(step.abs().max().clamp(min=1e-12)))
        if float(step.abs().max()) < _CLOSE:
            break
    return weights


def told_apart(rule: Tensor, pairs: Pairs) -> Told:
    """How well a rule [F + 1] tells pairs apart."""
    return _told(logits(rule, pairs.features), pairs)


def cross_validated(pairs: Pairs) -> Told | None:
    """How well rules tell pairs apart that were fitted to other questions' pairs.

    None where the pairs are too few for that: all of one kind come of the same few questions.
    """
    known = {one: place for place, one in enumerate(dict.fromkeys(pairs.questions))}
    fold = torch.tensor([known[one] % _FOLDS for one in pairs.questions])
    found = torch.zeros(len(pairs), dtype=torch.float64)
    for turn in range(_FOLDS):
        own = fold == turn
        if not _has_both(pairs.of(~own)):
            return None
        found[own] = logits(fit_rule(pairs.of(~own)), pairs.features[own])
    return _told(found, pairs)


def _told(found: Tensor, pairs: Pairs) -> Told:
    likely, others = found[pairs.replaced], found[~pairs.replaced]
    above = (torch.sign(likely[:, None] - others) + 1) / 2
    return Told(
        len(pairs),
        len(likely),
        _mean(above),
        _mean(likely > LEAST),
        _mean(others > LEAST),
    )


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if values.numel() else None
