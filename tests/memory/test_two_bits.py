"""Numbers in about 2 bits: number by number as a slow reference has them."""

from __future__ import annotations

import pytest
import torch
from tests.memory.slow_trellis import at_unit, byte_of, nearest_levels
from torch import Tensor

from memplus.memory.two_bits import (
    Share,
    along_bytes,
    directions_kept,
    group_bytes,
    pack_along,
    pack_groups,
    principal_directions,
    unpack_along,
    unpack_groups,
)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("share", "bits"), [(Share.SAME, 2), (Share.LOWER, 2), (Share.UPPER, 3)])
def test_groups_take_2_or_3_bits_a_number_and_a_scale_of_one_byte(share: Share, bits: int) -> None:
    groups = numbers(7, 2, 3, 16) * 5
    packed, scales = pack_groups(groups, share)
    assert packed.shape == (7, 2, 3 * 2 * bits)
    found = unpack_groups(packed, scales, share)
    for place in [(c, h, g) for c in range(7) for h in range(2) for g in range(3)]:
        given = groups[place].tolist()
        levels = nearest_levels(at_unit(given), [bits] * 16)
        dot = sum(a * b for a, b in zip(given, levels, strict=True))
        scale = byte_of(dot / sum(one * one for one in levels))
        assert torch.allclose(found[place], scale * torch.tensor(levels), rtol=1e-4)


@pytest.mark.parametrize(
    ("share", "bits"),
    [(Share.SAME, [4] * 4 + [3] * 4 + [2] * 6), (Share.LOWER, [4] * 4 + [3] * 4 + [2] * 2)],
)
def test_keys_take_fewer_bits_the_less_a_direction_tells(share: Share, bits: list[int]) -> None:
    turn = torch.linalg.qr(numbers(2, 16, 16, seed=1)).Q
    spread = (turn * torch.linspace(9, 1, 16).square()) @ turn.mT
    leading = principal_directions(spread.double(), share)
    keys = numbers(5, 2, 16, seed=2) * 3
    found = unpack_along(*pack_along(keys, leading, share), leading, share)
    for row, head in [(row, head) for row in range(5) for head in range(2)]:
        axes = leading[head].T
        lengths = [float(keys[row, head] @ axis / axis.square().sum()) for axis in axes]
        weights = [float(axis.square().sum()) for axis in axes]
        levels = nearest_levels(at_unit(lengths), bits, weights)
        above = sum(w * a * b for w, a, b in zip(weights, lengths, levels, strict=True))
        below = sum(w * b * b for w, b in zip(weights, levels, strict=True))
        wanted = byte_of(above / below) * torch.tensor(levels) @ axes
        assert torch.allclose(found[row, head], wanted, atol=1e-4)


def test_directions_are_the_longest_of_a_spread_and_as_long_as_it_is_there() -> None:
    turn = torch.linalg.qr(numbers(1, 16, 16)).Q.double()
    lengths = torch.linspace(16, 1, 16)
    leading = principal_directions((turn * lengths.square()) @ turn.mT)
    assert leading.shape == (1, 16, 14)
    assert torch.allclose(leading[0].norm(dim=0), lengths[:14], rtol=1e-4)
    likeness = torch.cosine_similarity(leading[0], turn[0, :, :14].float(), dim=0)
    assert torch.allclose(likeness.abs(), torch.ones(14), atol=1e-4)


def test_a_direction_of_which_few_rows_tell_nothing_is_there_all_the_same() -> None:
    keys = numbers(1, 16) * 3
    one = principal_directions(torch.einsum("hw,hv->hwv", keys, keys).double())
    lengths = one[0].norm(dim=0)
    assert torch.allclose(lengths[1:], lengths[:1] / 64, rtol=1e-3)
    none = principal_directions(torch.zeros(1, 16, 16).double())
    assert torch.allclose(none[0].norm(dim=0), torch.ones(14))
    for leading in (one, none, None):
        assert torch.isfinite(unpack_along(*pack_along(keys[None], leading), leading)).all()


@pytest.mark.parametrize("width", [16, 48, 64, 80, 96, 128, 256])
def test_what_a_head_takes_in_lower_and_upper_layers(width: int) -> None:
    for share, keys, values in ((Share.LOWER, 16, 16), (Share.UPPER, 20, 24)):
        codes, _ = pack_along(numbers(3, 2, width), None, share)
        assert codes.shape[-1] == along_bytes(width, share) == width * keys // 64
        assert unpack_along(codes, torch.zeros(3, 2), None, share).shape == (3, 2, width)
        groups, _ = pack_groups(numbers(3, 2, 1, width), share)
        assert groups.shape[-1] == group_bytes(width, share) == width * values // 64
    assert directions_kept(width, Share.LOWER) == width * 5 // 8
    assert directions_kept(width, Share.UPPER) == width * 7 // 8


def test_all_layers_together_take_a_twentieth_more_at_most() -> None:
    """A head of 64 took 38 bytes with its scales; of lower layers it takes 34, of upper ones 46."""
    for count in range(1, 100):
        shares = [Share.of(place, count) for place in range(count)]
        taken = [along_bytes(64, one) + group_bytes(64, one) + 2 for one in shares]
        assert taken == sorted(taken)
        assert sum(taken) <= 1.05 * 38 * count
    assert Share.of(0, 2) == Share.of(1, 2) == Share.SAME
    assert [Share.of(place, 24) for place in (0, 12, 13, 23)] == [
        *[Share.LOWER] * 2,
        *[Share.UPPER] * 2,
    ]


@pytest.mark.parametrize("width", [16, 48, 64, 80, 96, 128, 256])
def test_what_a_head_takes(width: int) -> None:
    codes, scales = pack_along(numbers(3, 2, width), None)
    assert (codes.shape, scales.shape) == ((3, 2, along_bytes(width)), (3, 2))
    assert along_bytes(width) == width * 5 // 16
    assert directions_kept(width) == width * 7 // 8
    assert unpack_along(codes, scales, None).shape == (3, 2, width)
    assert pack_groups(numbers(3, 2, 1, width))[0].shape == (3, 2, group_bytes(width))


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-4, 1e4, 3e30])
def test_numbers_of_any_size_stay_finite_and_nothing_stays_nothing(size: float) -> None:
    groups, keys = numbers(4, 1, 16) * size, numbers(4, 1, 16) * size
    values, along = unpack_groups(*pack_groups(groups)), unpack_along(*pack_along(keys, None), None)
    for found in (values, along):
        assert bool(found.isfinite().all())
        assert size > 0 or not found.any()
    if 1e-4 <= size <= 1e4:
        assert float((values - groups).norm() / groups.norm()) < 0.5
    if size < 1e-4:
        assert not values.any()


def test_a_scale_below_the_least_one_does_not_grow() -> None:
    groups = numbers(40, 1, 64)
    for exponent in range(-24, -10):
        given = groups * 2.0**exponent
        found = unpack_groups(*pack_groups(given))
        assert float((found - given).norm() / given.norm()) < 1.01
