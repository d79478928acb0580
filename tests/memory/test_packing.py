"""Rows in 8, 4 and 2 bits: how far they are from the rows that were packed."""

from __future__ import annotations

import math

import pytest
import torch
from tests.memory.slow_trellis import at_unit, byte_of, nearest_levels
from torch import Tensor

from memplus.memory.packing import (
    PACKED,
    RowKind,
    Share,
    _hadamard,
    centres_of,
    leading_of,
    leading_shape,
    pack,
    packed_columns,
    scale_of,
    unpack,
)

KINDS: tuple[RowKind, ...] = ("int8", "int4", "int2")


def rows_of(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def again(
    packed: dict[str, Tensor],
    name: str = "k",
    centre: Tensor | None = None,
    leading: Tensor | None = None,
) -> Tensor:
    return unpack(packed[name], packed[scale_of(name)], torch.float32, centre, leading)


def known(rows: Tensor, kind: RowKind, name: str = "k") -> Tensor:
    """Rows packed and unpacked about what they have in common."""
    centres = centres_of({name: rows}, kind)
    packed = pack({name: rows}, kind, centres)
    return again(packed, name, centres[name], centres.get(leading_of(name)))


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_a_row_in_8_bits_is_within_half_a_level_of_itself() -> None:
    rows = {"k": rows_of((5, 2, 8)) * 7, "key": rows_of((5, 3))}
    packed = pack(rows, "int8")
    assert packed["k"].dtype == torch.int8
    assert packed["key"] is rows["key"]
    error = (again(packed) - rows["k"]).abs().flatten(1).amax(dim=1)
    assert bool((error <= packed[scale_of("k")] / 2 + 1e-6).all())


@pytest.mark.parametrize("width", [8, 24, 64, 80, 128])
def test_a_group_in_4_bits_is_within_a_level_of_itself(width: int) -> None:
    """The turn keeps lengths, so that each group is off by at most a level a number."""
    rows = rows_of((40, 3, width), seed=width) * 11
    packed = pack({"k": rows}, "int4")
    scale = packed[scale_of("k")]
    assert (packed["k"].dtype, scale.dtype) == (torch.uint8, torch.float16)
    size = width // scale.shape[-1]
    error = (again(packed) - rows).unflatten(-1, (-1, size)).norm(dim=-1)
    assert bool((error <= scale.float().abs() * math.sqrt(size) * 1.001).all())
    assert distance(again(packed), rows) < 0.12


def test_one_large_number_does_not_round_its_group_away() -> None:
    rows = rows_of((200, 2, 64))
    rows[:, 0, 5] += 40
    found = again(pack({"k": rows}, "int4"))
    others = torch.arange(64) != 5
    assert distance(found[..., others], rows[..., others]) < 0.5


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.012), ("int4", 0.12), ("int2", 0.36)])
def test_what_all_rows_have_in_common_costs_nothing(kind: RowKind, most: float) -> None:
    """Keys with large biases: the part that tells rows apart keeps its precision."""
    bias = rows_of((2, 64), seed=1) * 50
    apart = rows_of((300, 2, 64))
    rows = {"v": apart + bias}
    centres = centres_of({"v": rows["v"][:64]}, kind)
    about = again(pack(rows, kind, centres), "v", centres["v"]) - bias
    assert distance(about, apart) < most
    about_zero = again(pack(rows, kind), "v") - bias
    assert distance(about_zero, apart) > 5 * distance(about, apart)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_zeros_and_no_rows_at_all(kind: RowKind) -> None:
    for name in ("k", "v"):
        assert torch.equal(known(torch.zeros(2, 3, 16), kind, name), torch.zeros(2, 3, 16))
    none = pack({"v": torch.zeros(0, 3, 16)}, kind)
    assert again(none, "v").shape == (0, 3, 16)


@pytest.mark.parametrize("kind", KINDS)
def test_tiny_and_huge_numbers_stay_finite(kind: RowKind) -> None:
    for size in (1e-12, 1e4, 3e38):
        found = again(pack({"v": rows_of((4, 16)).clamp(-1, 1) * size}, kind), "v")
        assert bool(found.isfinite().all())


@pytest.mark.parametrize("width", [3, 12, 13])
@pytest.mark.parametrize("kind", ["int4", "int2"])
def test_widths_that_fewer_bits_would_not_save_anything_of_take_8(
    kind: RowKind, width: int
) -> None:
    packed = pack({"k": rows_of((5, 2, width))}, kind)
    assert packed["k"].dtype == torch.int8
    assert distance(again(packed), rows_of((5, 2, width))) < 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 64), (2, 80), (2, 16), (12,), (96,)])
@pytest.mark.parametrize("name", ["k", "v"])
def test_what_a_column_becomes_is_known_beforehand(
    kind: RowKind, shape: tuple[int, ...], name: str
) -> None:
    rows = {name: rows_of((6, *shape))}
    for share, about in ((one, about) for one in Share for about in (False, True)):
        packed = pack(rows, kind, centres_of(rows, kind, share) if about else {}, share=share)
        expected = packed_columns(name, torch.zeros(shape), kind, share)
        assert {n: (c.dtype, tuple(c.shape[1:])) for n, c in packed.items()} == expected


def test_half_the_bits_take_about_half_the_bytes_and_a_scale_for_64_numbers() -> None:
    rows = {"v": rows_of((100, 3, 64)).bfloat16()}
    taken = {kind: sum(c.nbytes for c in pack(rows, kind).values()) for kind in KINDS}
    assert taken["int8"] == 100 * (192 + 4)
    assert taken["int4"] == 100 * (96 + 3 * 2)
    assert taken["int2"] == 100 * (48 + 3)
    keys = pack({"k": rows["v"]}, "int2")  # 16 numbers of 4 bits, 16 of 3, 24 of 2
    assert sum(one.nbytes for one in keys.values()) == 100 * 3 * (20 + 1)


def rounded_slowly(rows: Tensor) -> Tensor:
    """What 2 bits keep of rows [c, H, 64], number by number: a slow reference."""
    turn = torch.tensor(
        [[1 - 2 * ((a & b).bit_count() % 2) for b in range(64)] for a in range(64)]
    ) / math.sqrt(64)
    turned = rows @ turn
    found = torch.empty_like(turned)
    for place in [(c, h) for c in range(len(rows)) for h in range(rows.shape[1])]:
        numbers = turned[place].tolist()
        levels = nearest_levels(at_unit(numbers), [2] * 64)
        dot = sum(x * one for x, one in zip(numbers, levels, strict=True))
        scale = dot / sum(one * one for one in levels)
        found[place] = byte_of(scale) * torch.tensor(levels)
    return found @ turn


def test_2_bits_are_the_nearest_path_of_a_gaussian() -> None:
    rows = rows_of((7, 2, 64)) * 5
    found = again(pack({"v": rows}, "int2"), "v")
    assert torch.allclose(found, rounded_slowly(rows), atol=1e-4)


def test_values_in_2_bits_lose_less_than_four_levels_must() -> None:
    many = rows_of((400, 2, 64)) * 5
    error = distance(again(pack({"v": many}, "int2"), "v"), many) ** 2
    assert 0.08 < error < 0.1  # 0.1175 of a Gaussian's variance is the least that 4 levels leave


def test_keys_in_2_bits_are_kept_along_the_directions_that_tell_them_apart() -> None:
    """What they are off is what 4, 3 and 2 bits leave of a Gaussian, and what is left out."""
    lengths = torch.exp2(-torch.arange(64) / 8)
    turn = torch.linalg.qr(rows_of((2, 64, 64), seed=1)).Q
    apart = torch.einsum("chk,hkw->chw", rows_of((900, 2, 64)) * lengths, turn)
    rows = apart + rows_of((2, 64), seed=2) * 20
    centres = centres_of({"k": rows[:600]}, "int2")
    leading = centres[leading_of("k")]
    assert leading.shape == leading_shape("k", (2, 64), "int2") == (2, 64, 56)
    found = again(pack({"k": rows}, "int2", centres), "k", centres["k"], leading)
    power = lengths.square() / lengths.square().sum()
    parts = zip((0.0065, 0.0242, 0.0885, 1.0), power.split([16, 16, 24, 8]), strict=True)
    expected = sum(error * float(part.sum()) for error, part in parts)
    apart = rows - centres["k"]
    error = distance(found - centres["k"], apart) ** 2
    assert 0.7 * expected < error < 1.3 * expected  # a scale for each row errs a little less
    # Of what lies in all directions alike, most are kept in fewer bits, and some not at all.
    plain = rows_of((300, 2, 64))
    assert 0.25 < distance(known(plain, "int2"), plain) < 0.45


def test_only_keys_of_2_bits_have_leading_directions() -> None:
    rows = {name: rows_of((9, 2, 64)) for name in PACKED}
    assert set(centres_of(rows, "int2")) == {*PACKED, leading_of("k")}
    for kind in ("int8", "int4"):
        assert set(centres_of(rows, kind)) == set(PACKED)
    assert leading_shape("k", (2, 24), "int2") is None  # eighths of it would take bytes each


@pytest.mark.parametrize("width", [8, 24, 40])
def test_keys_too_narrow_for_directions_of_their_own_stay_in_4_bits(width: int) -> None:
    rows = {"k": rows_of((50, 2, width))}
    assert set(centres_of(rows, "int2")) == {"k"}
    for name, column in pack(rows, "int2").items():
        assert torch.equal(column, pack(rows, "int4")[name])


def test_hidden_vectors_stay_in_4_bits() -> None:
    """Keys and values are computed from them by every layer's weights, which 2 bits would spoil."""
    rows = {"hidden": rows_of((50, 128))}
    for name, column in pack(rows, "int2").items():
        assert torch.equal(column, pack(rows, "int4")[name])


def test_directions_are_found_whatever_numbers_keys_have() -> None:
    for odd in (float("nan"), float("inf"), 3e38):
        rows = rows_of((20, 2, 16))
        rows[0, 0, 0] = odd
        leading = centres_of({"k": rows}, "int2")[leading_of("k")]
        assert leading.shape == (2, 16, 14)
        assert bool(leading.isfinite().all())
        found = again(pack({"k": rows[1:]}, "int2", {leading_of("k"): leading}), leading=leading)
        assert bool(found.isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_rows_do_not_depend_on_what_torch_takes_by_default(
    kind: RowKind, dtype: torch.dtype
) -> None:
    """Loading a model changes its default dtype for a while, and another thread may write then."""
    rows = {name: rows_of((9, 2, 16)) for name in ("k", "v")}

    def found() -> list[Tensor]:
        _hadamard.cache_clear()
        centres = centres_of(rows, kind)
        packed = pack(rows, kind, centres)
        plain = pack(rows, kind)  # along the axes
        read = [again(packed, n, centres[n], centres.get(leading_of(n))) for n in rows]
        return [*packed.values(), *read, *(again(plain, name) for name in rows)]

    wanted, usual = found(), torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            others = found()
    finally:
        torch.set_default_dtype(usual)
    for one, other in zip(wanted, others, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert all(map(torch.equal, found(), wanted))


def test_keys_are_kept_by_their_direction() -> None:
    rows = {"key": rows_of((20, 32))}
    packed = pack(rows, "int4", keys=True)
    assert set(packed) == {"key"}
    assert packed["key"].dtype == torch.int8
    likeness = torch.cosine_similarity(packed["key"].float(), rows["key"])
    assert bool((likeness > 0.9999).all())
