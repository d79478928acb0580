"""Rotated queries and keys, mirrored so that the right looks like the left."""

import pytest
import torch
from torch import Tensor

from memplus.backbone.rope import Angles, rotate
from memplus.systems.lamemo.layer_step import Scores
from memplus.systems.lamemo.rotary import RotaryScoring

HEADS, WIDTH, COUNT = 2, 8, 5
FREQUENCIES = torch.tensor([1.0, 0.3, 0.1])
"""Of six of eight numbers: the rest is not rotated."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


QUERY, KEY = drawn(1, HEADS, COUNT, WIDTH, seed=1), drawn(1, HEADS, COUNT + 1, WIDTH, seed=2)
DIRECTION = drawn(HEADS, WIDTH, seed=3)


def angles(positions: Tensor, scale: float = 1.0) -> Angles:
    turned = positions[:, None] * FREQUENCIES
    return turned.cos() * scale, turned.sin() * scale


def turned(states: Tensor, positions: Tensor, scale: float = 1.0) -> Tensor:
    return rotate(states.transpose(1, 2), angles(positions, scale)).transpose(1, 2)


def products(found: Scores) -> Tensor:
    return found.query @ found.key.transpose(2, 3) * found.scale


@pytest.mark.parametrize("scale", [1.0, 1.2])
@pytest.mark.parametrize("first", [1, 3])
def test_a_key_on_the_right_scores_as_one_so_far_on_the_left(scale: float, first: int) -> None:
    place = torch.arange(COUNT + 1)
    scoring = RotaryScoring(0.5, angles(place, scale), DIRECTION)
    found = scoring.right(
        turned(QUERY, place[:COUNT], scale), turned(KEY[:, :, first:], place[first:], scale), first
    )
    biased = QUERY + DIRECTION[:, None]
    for p in range(COUNT):
        for j in range(first, COUNT + 1):
            # The same query and key, the key j - p positions to the left of the query.
            query = turned(biased[:, :, p : p + 1], torch.tensor([10]), scale)
            key = turned(KEY[:, :, j : j + 1], torch.tensor([10 - (j - p)]), scale)
            expected = (query * key).sum(dim=-1)[0, :, 0] * 0.5
            assert torch.allclose(products(found)[0, :, p, j - first], expected, atol=1e-4)


def test_signed_distances_are_left_as_they_are() -> None:
    found = RotaryScoring(0.5).right(QUERY, KEY, 0)
    assert torch.equal(found.query, QUERY)
    assert torch.equal(found.key, KEY)


def test_the_left_is_the_stock_decoders() -> None:
    found = RotaryScoring(0.5, angles(torch.arange(6)), DIRECTION).left(QUERY, KEY)
    assert torch.equal(found.query, QUERY)
    assert torch.equal(found.key, KEY)
    assert found.scale == 0.5


def test_layers_without_rotation_get_the_vector_alone() -> None:
    empty = torch.zeros(COUNT + 1, 0)
    found = RotaryScoring(0.5, (empty, empty), DIRECTION).right(QUERY, KEY, 0)
    assert torch.allclose(found.query, QUERY + DIRECTION[:, None])
    assert torch.equal(found.key, KEY)


def test_angles_may_be_more_exact_than_the_states() -> None:
    scoring = RotaryScoring(0.5, angles(torch.arange(COUNT + 1)), DIRECTION.bfloat16())
    found = scoring.right(QUERY.bfloat16(), KEY.bfloat16(), 0)
    assert found.query.dtype == found.key.dtype == torch.bfloat16
