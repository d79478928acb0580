"""Plain products against one softmax in float64.

Tolerance: 2e-6 in float32; 2e-2 where the products are in bfloat16, whose values are around 1.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memplus.backbone import products
from memplus.backbone.products import attend_rows, attend_token, empty_keys, products_serve

SCALE = 0.3


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def reference(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    scores = query.double() @ key.double().transpose(2, 3) * SCALE
    return (scores.softmax(dim=3) @ value.double()).float(), scores.logsumexp(dim=3).float()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks of rows, of queries and of lanes, the last ones not full."""
    monkeypatch.setattr(products, "_SCORES", 64)
    monkeypatch.setattr(products, "_QUERIES", 4)
    monkeypatch.setattr(products, "_BLOCK", 7)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 9, 50), (2, 2, 5, 33), (5, 1, 2, 16)])
@pytest.mark.usefixtures("small_blocks")
@torch.no_grad()
def test_blocks_together_are_one_softmax(shape: tuple[int, int, int, int]) -> None:
    batch, heads, queries, rows = shape
    query = drawn(batch, heads, queries, 8, seed=1)
    key, value = (drawn(batch, heads, rows, 8, seed=seed) for seed in (2, 3))
    found = attend_rows(query, key, value, SCALE)
    for ours, expected in zip(found, reference(query, key, value), strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.usefixtures("small_blocks")
@torch.no_grad()
def test_scores_of_any_size_neither_overflow_nor_vanish() -> None:
    """The largest score comes in the last block, then in the first."""
    query, value = drawn(1, 1, 3, 8, seed=1), drawn(1, 1, 40, 8, seed=3)
    key = drawn(1, 1, 40, 8, seed=2) * torch.linspace(0, 500, 40)[:, None]
    for keys in (key, key.flip(2)):
        out, lse = attend_rows(query, keys, value, SCALE)
        expected, expected_lse = reference(query, keys, value)
        torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(lse, expected_lse, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("fast", [True, False], ids=["own products", "products in float32"])
@pytest.mark.usefixtures("small_blocks")
@torch.no_grad()
def test_bfloat16_is_near_and_in_float32_products_its_last_rounding(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "multiplies_fast", lambda dtype: fast)
    half = torch.bfloat16
    query = drawn(1, 2, 6, 16, seed=1, dtype=half)
    key, value = (drawn(1, 2, 90, 16, seed=seed, dtype=half) for seed in (2, 3))
    out, lse = attend_rows(query, key, value, SCALE)
    expected, expected_lse = reference(query, key, value)
    assert out.dtype == half
    assert lse.dtype == torch.float32
    torch.testing.assert_close(out.float(), expected, atol=2e-2, rtol=0)
    if not fast:
        torch.testing.assert_close(out, expected.to(half), atol=0, rtol=2**-7)
        torch.testing.assert_close(lse, expected_lse, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_keys_laid_out_for_products_are_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_LARGE", 2 * 40 * 8)
    keys = drawn(2, 40, 8, seed=2)
    laid = empty_keys(keys, 2, 40, 8).copy_(keys)
    assert laid.shape == keys.shape
    assert laid.stride(2) != 1
    query, value = drawn(1, 2, 3, 8, seed=1), drawn(1, 2, 40, 8, seed=3)
    out, lse = attend_rows(query, laid[None], value, SCALE)
    expected, expected_lse = reference(query, keys[None], value)
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(lse, expected_lse, atol=2e-6, rtol=1e-5)


def test_only_large_keys_in_float32_are_laid_out_so() -> None:
    rows = products._LARGE // (2 * 8)
    large = drawn(1, seed=1)
    assert empty_keys(large, 2, rows, 8).stride(2) != 1
    assert empty_keys(large, 2, rows - 1, 8).is_contiguous()
    assert empty_keys(large.bfloat16(), 2, rows, 8).is_contiguous()


def test_which_reads_products_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 1 + products._SMALL // (8 * products._FEW)
    few, many = (torch.zeros(1, 1, count, 8) for count in (products._FEW, products._FEW + 1))
    key = torch.zeros(1, 1, rows, 8)
    assert not products_serve(many, key)
    assert products_serve(few, torch.zeros(1, 1, 8, rows).transpose(2, 3))
    few, many, key = few.bfloat16(), many.bfloat16(), key.bfloat16()
    monkeypatch.setattr(products, "bfloat16_unit", lambda: "AMX")
    assert not products_serve(many, key)
    assert products_serve(few, key.transpose(2, 3).contiguous().transpose(2, 3))
    monkeypatch.setattr(products, "bfloat16_unit", lambda: "AVX512-BF16")
    for fast in (False, True):
        monkeypatch.setattr(products, "multiplies_fast", lambda dtype, fast=fast: fast)
        assert products_serve(many, key)
        assert products_serve(few, key) is fast
        assert not products_serve(many, key[:, :, : rows // 2])


@pytest.mark.parametrize("parts", [1, 3])
def test_one_token_attends_to_all_its_rows_wherever_they_lie(parts: int) -> None:
    query = drawn(2, 3, 8, seed=0)
    counts = (5, 1, 17)[:parts]
    rows = [(drawn(2, n, 8, seed=n), drawn(2, n, 8, seed=2 * n)) for n in counts]
    biases = [None, drawn(1, seed=3), drawn(17, seed=4)][:parts]
    given = [(k.transpose(1, 2), v, b) for (k, v), b in zip(rows, biases, strict=True)]
    keys, values = (torch.cat(one, dim=1) for one in zip(*rows, strict=True))
    added = [
        torch.zeros(len(k[0])) if b is None else b for (k, _), b in zip(rows, biases, strict=True)
    ]
    scores = query @ keys.transpose(1, 2) + torch.cat(added)
    expected = scores.softmax(dim=-1) @ values
    assert torch.allclose(attend_token(query, given), expected, atol=1e-6)
