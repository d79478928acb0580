"""Numbers that are rounded together, beside a slow reference and beside every row there is."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from tests.memory.slow_trellis import levels_after, nearest_levels
from torch import Tensor

from memplus.memory import trellis
from memplus.memory.trellis import codes_of, levels_of, runs_of

MIXED = [4, 4, 3, 2, 2]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", [[2], [3], [4], [2, 2], [3, 2, 2], [2, 2, 2, 2]])
def test_of_all_rows_that_codes_name_the_nearest_is_found(bits: list[int]) -> None:
    rows = numbers(20, len(bits))
    weights = numbers(len(bits), seed=1).square() + 0.1
    every = torch.tensor(list(product(*[range(2**count) for count in bits])))
    levels = torch.tensor([levels_after(codes, bits) for codes in every.tolist()])
    for counted in (None, weights):
        counts = torch.ones(len(bits)) if counted is None else counted
        off = ((rows.unsqueeze(1) - levels).square() * counts).sum(dim=-1)
        found = codes_of(rows, bits, counted)
        assert torch.equal(found.long(), every[off.argmin(dim=1)])


@pytest.mark.parametrize("bits", [[2] * 64, [4] * 16 + [3] * 16 + [2] * 24, [3] * 8, MIXED])
def test_longer_rows_are_those_of_the_slow_reference(bits: list[int]) -> None:
    rows = numbers(4, 2, len(bits))
    weights = numbers(2, len(bits), seed=1).square() + 0.1
    found = levels_of(codes_of(rows, bits, weights), bits)
    for place in [(row, head) for row in range(4) for head in range(2)]:
        wanted = nearest_levels(rows[place].tolist(), bits, weights[place[1]].tolist())
        assert found[place].tolist() == pytest.approx(wanted)


def test_codes_are_read_one_after_the_other() -> None:
    codes = torch.stack([torch.randint(2**count, (30,)) for count in MIXED], dim=-1)
    found = levels_of(codes.to(torch.uint8), MIXED)
    for row, levels in zip(codes.tolist(), found.tolist(), strict=True):
        assert levels == pytest.approx(levels_after(row, MIXED))


@pytest.mark.parametrize(("bits", "one_by_one", "together"), [
    (2, 0.1175, 0.0885), (3, 0.0345, 0.0242), (4, 0.0095, 0.00654),
])  # fmt: skip
def test_numbers_that_are_rounded_together_are_off_less(
    bits: int, one_by_one: float, together: float
) -> None:
    rows = numbers(3000, 64)
    off = float((levels_of(codes_of(rows, [bits] * 64), [bits] * 64) - rows).square().mean())
    assert off == pytest.approx(together, rel=0.02)
    assert off < 0.8 * one_by_one


def test_rows_do_not_feel_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = numbers(50, 64)
    whole = codes_of(rows, [2] * 64)
    assert torch.equal(codes_of(rows[7:9], [2] * 64), whole[7:9])
    monkeypatch.setattr(trellis, "_BLOCK", 16)
    assert torch.equal(codes_of(rows, [2] * 64), whole)


def test_no_rows_have_no_codes() -> None:
    assert codes_of(torch.empty(0, 3, 8), [2] * 8).shape == (0, 3, 8)
    assert levels_of(torch.empty(0, 8, dtype=torch.uint8), [2] * 8).shape == (0, 8)


def test_what_is_no_number_leaves_codes_of_the_others() -> None:
    rows = numbers(3, 8)
    rows[1, 2] = torch.nan
    found = codes_of(rows, [2] * 8)
    assert torch.equal(found[[0, 2]], codes_of(rows[[0, 2]], [2] * 8))
    assert int(found.max()) < 4


def test_runs_are_of_as_many_bits() -> None:
    assert runs_of(MIXED) == [(slice(0, 2), 4), (slice(2, 3), 3), (slice(3, 5), 2)]
