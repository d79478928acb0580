"""Attention to both sides, their mix, and who looks at whom."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memplus.systems.lamemo.layer_step import (
    Blend,
    Projected,
    Remembered,
    Scores,
    Scoring,
    attend,
    interpolated,
    layer_step,
    log_dtype,
    mixed,
    sight_of,
    weights_of,
)
from memplus.systems.lamemo.relative import Biases, RelativeScoring, sinusoids
from memplus.systems.lamemo.rotary import RotaryScoring

ROWS, HEADS, WIDTH, COUNT, TOKENS = 2, 4, 6, 5, 4
TOTAL = COUNT + TOKENS


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def projected(groups: int, tokens: int = TOTAL, seed: int = 1) -> Projected:
    query = drawn(ROWS, HEADS, tokens, WIDTH, seed=seed)
    key = drawn(ROWS, groups, tokens, WIDTH, seed=seed + 1)
    return Projected(query, key, drawn(ROWS, groups, tokens, WIDTH, seed=seed + 2))


def relative() -> RelativeScoring:
    known = sinusoids(TOTAL, torch.tensor([1.0, 0.1, 0.01])) @ drawn(6, HEADS * WIDTH, seed=8)
    biases = Biases(*(drawn(HEADS, WIDTH, seed=seed) for seed in (5, 6, 7)))
    return RelativeScoring(known.unflatten(-1, (HEADS, WIDTH)), biases)


def rotary() -> RotaryScoring:
    angles = torch.arange(TOTAL)[:, None] * torch.tensor([1.0, 0.1, 0.01])
    direction = drawn(HEADS, WIDTH, seed=9)
    return RotaryScoring(0.4, (angles.cos(), angles.sin()), direction)


SCORINGS = pytest.mark.parametrize(
    ("scoring", "groups"), [(relative(), HEADS), (rotary(), 2), (RotaryScoring(0.3), 1)]
)


def remembered(scoring: Scoring, groups: int) -> tuple[Remembered, Projected]:
    """Of the first positions, read as a segment; and the projections of all."""
    given = projected(groups)
    before = Projected(*(one[:, :, :COUNT] for one in given))
    nothing = Remembered(drawn(ROWS, 0, HEADS, WIDTH), drawn(ROWS, 0, HEADS))
    sight = sight_of(0, COUNT, 0, given.query)
    return layer_step(nothing, before, scoring, sight, Blend()).remembered, given


@SCORINGS
@torch.no_grad()
def test_the_mix_is_one_softmax_over_both_sides(scoring: Scoring, groups: int) -> None:
    """With keys frozen by hand: the same ones to the left before and now."""
    before, given = remembered(scoring, groups)
    step = layer_step(before, given, scoring, sight_of(COUNT, TOKENS, COUNT, given.query), Blend())
    left = scoring.left(given.query[:, :, :COUNT], given.key[:, :, :COUNT])
    right = scoring.right(given.query[:, :, :COUNT], given.key[:, :, 1 : COUNT + 1], 1)
    hidden = float("-inf")
    causal = torch.full((COUNT, COUNT), hidden).triu(1)
    ahead = torch.full((COUNT, COUNT), hidden).tril(-1)
    numbers = torch.cat([numbers_of(left) + causal, numbers_of(right) + ahead], dim=-1)
    values = torch.cat([given.value[:, :, :COUNT], given.value[:, :, 1 : COUNT + 1]], dim=2)
    together = mixed(numbers.softmax(dim=-1), values).transpose(1, 2)
    refreshed = step.remembered
    assert torch.allclose(refreshed.context[:, :COUNT], together, atol=1e-5)
    logs = numbers.logsumexp(dim=-1).transpose(1, 2)
    assert torch.allclose(refreshed.logs[:, :COUNT], logs, atol=1e-5)


def numbers_of(scores: Scores) -> Tensor:
    key = scores.key.repeat_interleave(HEADS // scores.key.shape[1], dim=1)
    found = scores.query @ key.transpose(2, 3) * scores.scale
    return found if scores.position is None else found + scores.position


@SCORINGS
def test_without_a_graph_the_numbers_are_the_same(scoring: Scoring, groups: int) -> None:
    before, given = remembered(scoring, groups)
    sight = sight_of(COUNT, TOKENS, COUNT, given.query)
    with torch.no_grad():
        plain = layer_step(before, given, scoring, sight, Blend()).remembered
    learning = Projected(*(one.requires_grad_() for one in given))
    graph = layer_step(before, learning, scoring, sight, Blend()).remembered
    assert graph.context.requires_grad
    assert torch.allclose(plain.context, graph.context, atol=1e-6)
    assert torch.allclose(plain.logs, graph.logs, atol=1e-5)


def test_denominators_on_the_right_are_learned_from() -> None:
    """A key on the right changes how much of the past is left, not only what comes in."""
    _, given = remembered(rotary(), 2)
    query, key, value = (one[:, :, :COUNT].double().requires_grad_() for one in given)
    mask = torch.zeros(COUNT, COUNT, dtype=torch.float64)

    def logs(*both: Tensor) -> Tensor:
        return attend(Scores(both[0], both[1], 0.4), value.detach(), mask)[1]

    assert torch.autograd.gradcheck(logs, (query, key))


def test_each_position_is_looked_at_once_by_each_before_it() -> None:
    """Segments of any length, also those of one token; ``start`` of the window moves on."""
    memory, start, end, last = 6, 0, 0, 0
    looked: dict[tuple[int, int], int] = {}
    for tokens in (4, 4, 1, 1, 3, 4, 2):
        count = end - start
        sight = sight_of(count, tokens, last, torch.zeros(1))
        assert sight.left.shape == (tokens, count + tokens)
        assert sight.right.shape == (count, max(0, count + 1 - sight.first))
        for p, j in (sight.right == 0).nonzero().tolist():
            pair = start + p, start + sight.first + j
            looked[pair] = looked.get(pair, 0) + 1
        if count:  # those that are remembered know all on their right up to this segment's first
            for p in range(start, end):
                assert all(looked[p, j] == 1 for j in range(p + 1, end + 1))
        last, end = tokens, end + tokens
        start = max(start, end - memory)
    assert set(looked.values()) == {1}


def test_behind_a_segment_of_one_token_the_next_first_one_is_the_only_key() -> None:
    sight = sight_of(7, 1, 1, torch.zeros(1))
    assert sight.first == 7
    assert (sight.right == 0).all()
    assert sight.right.shape == (7, 1)


def test_a_segment_sees_itself_and_all_before_it() -> None:
    sight = sight_of(3, 4, 4, torch.zeros(1))
    seen = [[j for j in range(7) if sight.left[t, j] == 0] for t in range(4)]
    assert seen == [list(range(3 + t + 1)) for t in range(4)]


@SCORINGS
@torch.no_grad()
def test_what_is_remembered_stays_where_nothing_looks_ahead(scoring: Scoring, groups: int) -> None:
    before, given = remembered(scoring, groups)
    sight = sight_of(COUNT, TOKENS, COUNT, given.query)
    off = layer_step(before, given, scoring, sight, Blend(lookahead=False))
    assert off.alpha is None
    assert off.right is None
    assert torch.equal(off.remembered.context[:, :COUNT], before.context)
    assert torch.equal(off.remembered.logs[:, :COUNT], before.logs)
    on = layer_step(before, given, scoring, sight, Blend())
    assert torch.equal(on.remembered.context[:, COUNT:], off.remembered.context[:, COUNT:])
    assert not torch.allclose(on.remembered.context[:, :COUNT], before.context, atol=1e-2)


def sides() -> tuple[Remembered, Remembered]:
    return (
        Remembered(drawn(1, 3, 2, 4, seed=1), drawn(1, 3, 2, seed=2) * 5),
        Remembered(drawn(1, 3, 2, 4, seed=3), drawn(1, 3, 2, seed=4) * 5),
    )


def test_the_published_fault_takes_a_little_from_the_past() -> None:
    right, alpha = interpolated(*sides(), Blend())
    published, less = interpolated(*sides(), Blend(epsilon=1e-6))
    assert (less <= alpha).all()
    assert 0 < (alpha - less).max() < 2e-6
    assert torch.allclose(right.context, published.context, atol=2e-5)
    assert torch.equal(right.logs, published.logs)


def test_an_offset_is_added_to_every_score_on_the_right() -> None:
    before, ahead = sides()
    later = ahead._replace(logs=ahead.logs - 5)
    expected, alpha = interpolated(before, later, Blend())
    found, own = interpolated(before, ahead, Blend(offset=-5.0))
    assert torch.equal(found.context, expected.context)
    assert torch.equal(found.logs, expected.logs)
    assert torch.equal(own, alpha)


def test_large_logarithms_do_not_overflow() -> None:
    before = Remembered(torch.ones(1, 1, 1, 2), torch.full((1, 1, 1), 300.0))
    ahead = Remembered(torch.zeros(1, 1, 1, 2), torch.full((1, 1, 1), 301.0))
    for blend in (Blend(), Blend(epsilon=1e-6)):
        found, alpha = interpolated(before, ahead, blend)
        assert alpha.item() == pytest.approx(1 / (1 + 2.718281828), abs=1e-5)
        assert found.context[0, 0, 0].tolist() == pytest.approx([alpha.item()] * 2)
        assert found.logs.item() == pytest.approx(301.3133, abs=1e-3)


def test_weights_are_those_that_mix_the_values() -> None:
    given = projected(2)
    scores = Scores(given.query, given.key, 0.4)
    mask = torch.zeros(TOTAL, TOTAL).masked_fill(torch.ones(TOTAL, TOTAL).triu(1) > 0, -1e9)
    output, _ = attend(scores, given.value, mask)
    weights = weights_of(scores, mask)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(ROWS, HEADS, TOTAL))
    assert torch.allclose(mixed(weights, given.value), output, atol=1e-6)


def test_denominators_are_kept_in_float32_at_least() -> None:
    assert log_dtype(torch.bfloat16) == log_dtype(torch.float32) == torch.float32
    assert log_dtype(torch.float64) == torch.float64
