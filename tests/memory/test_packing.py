"""Rows in 8 bits: how far they are from the rows that were packed."""

from __future__ import annotations

import pytest
import torch

from memplus.memory.packing import PACKED, pack, scale_of, unpack


@pytest.mark.parametrize("leading", [1, 2])
def test_a_packed_row_is_within_half_a_level_of_itself(leading: int) -> None:
    torch.manual_seed(0)
    shape = (5, 2, 8) if leading == 1 else (3, 5, 2, 8)
    rows = {"k": torch.randn(shape) * 7, "key": torch.randn(shape)}
    packed = pack(rows, leading=leading)
    assert packed["k"].dtype == torch.int8
    assert packed["key"] is rows["key"]
    scale = packed[scale_of("k")]
    again = unpack(packed["k"].flatten(0, leading - 1), scale.flatten(), torch.float32)
    error = (again - rows["k"].flatten(0, leading - 1)).abs().flatten(1).amax(dim=1)
    assert bool((error <= scale.flatten() / 2 + 1e-6).all())


def test_packing_twice_changes_nothing() -> None:
    packed = pack({name: torch.randn(4, 6) for name in PACKED})
    assert all(torch.equal(pack(packed)[name], column) for name, column in packed.items())


def test_rows_of_zeros_and_no_rows_at_all() -> None:
    zeros = pack({"v": torch.zeros(2, 3)})
    assert torch.equal(unpack(zeros["v"], zeros[scale_of("v")], torch.float32), torch.zeros(2, 3))
    assert pack({"v": torch.zeros(0, 3)})[scale_of("v")].shape == (0,)
