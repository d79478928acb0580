"""Rows in 8 and 4 bits: how far they are from the rows that were packed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from memplus.memory.packing import (
    KEY,
    PACKED,
    RowKind,
    centres_of,
    pack,
    packed_columns,
    repacked,
    scale_of,
    unpack,
)
from memplus.memory.rows import RowTable

KINDS: tuple[RowKind, ...] = ("int8", "int4")


def rows_of(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def again(packed: dict[str, Tensor], name: str = "k", centre: Tensor | None = None) -> Tensor:
    return unpack(packed[name], packed[scale_of(name)], torch.float32, centre)


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


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.012), ("int4", 0.12)])
def test_what_all_rows_have_in_common_costs_nothing(kind: RowKind, most: float) -> None:
    """Keys with large biases: the part that tells rows apart keeps its precision."""
    bias = rows_of((2, 64), seed=1) * 50
    apart = rows_of((300, 2, 64))
    rows = {"k": apart + bias}
    centres = centres_of({"k": rows["k"][:64]})
    about = again(pack(rows, kind, centres), centre=centres["k"]) - bias
    assert distance(about, apart) < most
    about_zero = again(pack(rows, kind)) - bias
    assert distance(about_zero, apart) > 5 * distance(about, apart)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_zeros_and_no_rows_at_all(kind: RowKind) -> None:
    assert torch.equal(again(pack({"k": torch.zeros(2, 16)}, kind)), torch.zeros(2, 16))
    none = pack({"k": torch.zeros(0, 3, 16)}, kind)
    assert again(none).shape == (0, 3, 16)


@pytest.mark.parametrize("kind", KINDS)
def test_tiny_and_huge_numbers_stay_finite(kind: RowKind) -> None:
    for size in (1e-12, 1e4, 3e38):
        found = again(pack({"k": rows_of((4, 16)).clamp(-1, 1) * size}, kind))
        assert bool(found.isfinite().all())


@pytest.mark.parametrize("width", [3, 12, 13])
def test_widths_that_4_bits_would_not_save_anything_of_take_8(width: int) -> None:
    packed = pack({"k": rows_of((5, width))}, "int4")
    assert packed["k"].dtype == torch.int8
    assert distance(again(packed), rows_of((5, width))) < 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 64), (2, 80), (12,), (96,)])
def test_what_a_column_becomes_is_known_beforehand(kind: RowKind, shape: tuple[int, ...]) -> None:
    packed = pack({"v": rows_of((6, *shape))}, kind)
    known = packed_columns("v", torch.zeros(shape), kind)
    assert {n: (c.dtype, tuple(c.shape[1:])) for n, c in packed.items()} == known


def test_4_bits_take_less_than_half_of_8_and_a_scale_for_64_numbers() -> None:
    rows = {"k": rows_of((100, 3, 64)).bfloat16()}
    taken = {kind: sum(c.nbytes for c in pack(rows, kind).values()) for kind in KINDS}
    assert taken["int8"] == 100 * (192 + 4)
    assert taken["int4"] == 100 * (96 + 3 * 2)


def test_keys_are_kept_by_their_direction() -> None:
    rows = {"key": rows_of((20, 32))}
    packed = pack(rows, "int4", keys=True)
    assert set(packed) == {"key"}
    assert packed["key"].dtype == torch.int8
    likeness = torch.cosine_similarity(packed["key"].float(), rows["key"])
    assert bool((likeness > 0.9999).all())


@pytest.mark.parametrize("steps", [("int8",), ("int4",), ("int8", "int4")])
def test_a_table_is_packed_further_block_by_block(
    monkeypatch: pytest.MonkeyPatch, steps: tuple[RowKind, ...]
) -> None:
    monkeypatch.setattr("memplus.memory.packing._BLOCK", 7)
    rows = {name: rows_of((30, 2, 16)) + 9 for name in PACKED}
    birth = torch.arange(30)
    table = RowTable({**rows, KEY: rows_of((30, 8)), "birth": birth})
    for kind in steps:
        table = repacked(table, kind, keys=True)
    assert torch.equal(table["birth"], birth)
    assert table[KEY].dtype == torch.int8
    for name in PACKED:
        found = unpack(table[name], table[scale_of(name)], torch.float32, table.centres[name])
        assert distance(found - 9, rows[name] - 9) < (0.01 if steps == ("int8",) else 0.12)


def test_an_empty_table_is_packed_without_a_centre() -> None:
    table = repacked(RowTable({"k": torch.zeros(0, 2, 16)}), "int4", keys=False)
    assert len(table) == 0
    assert table["k"].dtype == torch.uint8
    assert not table.centres
