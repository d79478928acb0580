"""A rule fitted to pairs: as good as it can be, the same in every dtype, and told how good."""

from __future__ import annotations

import math

import pytest
import torch

from memplus.errors import TrainingStartError
from memplus.memory.superseding import FEATURES
from memplus.training.superseding.fit import cross_validated, fit_rule, told_apart
from memplus.training.superseding.pairs import Pairs


def drawn(pairs: int, seed: int = 0) -> tuple[Pairs, torch.Tensor]:
    """Pairs whose labels follow from a rule and chance, features of very different scales."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-2, 1, len(FEATURES), dtype=torch.float64)
    plain = torch.randn(pairs, len(FEATURES), generator=generator, dtype=torch.float64)
    true = torch.randn(len(FEATURES), generator=generator, dtype=torch.float64)
    likely = torch.sigmoid(2 * plain @ true - 1)
    labels = torch.rand(pairs, generator=generator, dtype=torch.float64) < likely
    questions = tuple(f"question {number // 3}" for number in range(pairs))
    return Pairs(plain * scale + 3 * scale, labels, questions), 2 * true / scale


def penalised(rule: torch.Tensor, pairs: Pairs) -> float:
    spread = pairs.features.std(dim=0)
    logits = pairs.features @ rule[:-1] + rule[-1]
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, pairs.replaced.double(), reduction="sum"
    )
    return float(losses + (rule[:-1] * spread).square().sum() / 2)


def test_a_rule_is_the_best_one_but_for_its_rounding() -> None:
    pairs, true = drawn(2000)
    rule = fit_rule(pairs)
    assert torch.equal(rule, rule.bfloat16().float())
    assert torch.equal(rule, rule.half().float())
    found = rule.double().requires_grad_()
    best = found.detach().clone().requires_grad_()
    spread = pairs.features.std(dim=0)
    optimizer = torch.optim.LBFGS([best], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = (pairs.features - pairs.features.mean(dim=0)) / spread @ best[:-1] + best[-1]
        value = (
            torch.nn.functional.binary_cross_entropy_with_logits(
                logits, pairs.replaced.double(), reduction="sum"
            )
            + best[:-1].square().sum() / 2
        )
        value.backward()
        return value

    optimizer.step(loss)
    least = float(loss().detach())
    assert penalised(rule.double(), pairs) == pytest.approx(least, rel=0.002)
    assert (rule[:-1] / true - 1).abs().median() < 0.2


def test_how_well_a_rule_tells_pairs_apart_is_counted() -> None:
    features = torch.zeros(6, len(FEATURES), dtype=torch.float64)
    features[:, 0] = torch.tensor([3.0, 1.0, 0.5, 2.0, 0.5, -4.0])
    pairs = Pairs(features, torch.tensor([True] * 3 + [False] * 3), ("q",) * 6)
    rule = torch.zeros(len(FEATURES) + 1)
    rule[0] = 1.0
    told = told_apart(rule, pairs)
    assert (told.pairs, told.replaced) == (6, 3)
    assert told.area == pytest.approx((3 + 2 + 1.5) / 9)
    assert told.found == pytest.approx(2 / 3)  # 1 is above the logit of 0.7, 0.5 is not
    assert told.mistaken == pytest.approx(1 / 3)
    assert math.log(0.7 / 0.3) < 1
    none = told_apart(rule, pairs.of(pairs.replaced))
    assert (none.area, none.found, none.mistaken) == (None, pytest.approx(2 / 3), None)


def test_questions_are_kept_apart_in_cross_validation() -> None:
    """With labels that only a question's other pairs know, nothing can be learned."""
    generator = torch.Generator().manual_seed(1)
    plain = torch.randn(60, len(FEATURES), generator=generator, dtype=torch.float64)
    labels = torch.rand(60, generator=generator) < 0.5
    pairs = Pairs(
        plain.repeat_interleave(5, dim=0),
        labels.repeat_interleave(5),
        tuple(f"question {number // 5}" for number in range(300)),
    )
    own, others = told_apart(fit_rule(pairs), pairs), cross_validated(pairs)
    assert own.area is not None
    assert others is not None
    assert others.area is not None
    assert others.area < 0.6 < own.area
    good, _ = drawn(600)
    apart = cross_validated(good)
    assert apart is not None
    assert (apart.area or 0) > 0.85


def test_where_corrections_are_of_one_question_alone_nothing_is_cross_validated() -> None:
    pairs, _ = drawn(30)
    names = tuple("one" if one else f"other {at % 9}" for at, one in enumerate(pairs.replaced))
    few = Pairs(pairs.features, pairs.replaced, names)
    assert told_apart(fit_rule(few), few).area is not None
    assert cross_validated(few) is None


def test_pairs_of_one_kind_are_refused() -> None:
    pairs, _ = drawn(30)
    for some in (pairs.of(pairs.replaced), pairs.of(~pairs.replaced), Pairs.joined([])):
        with pytest.raises(TrainingStartError, match="correction"):
            fit_rule(some)
