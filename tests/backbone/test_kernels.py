"""Attention elsewhere than on the CPU; plain operations run on it too, and are compared there."""

import pytest
import torch
from torch import Tensor

from memplus.backbone.kernels import attend_flash, attend_plain, flash_serves

SCALE = 0.3
HALF_DTYPES = (torch.bfloat16, torch.float16)


def drawn(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).to(device, dtype)


def expected(
    query: Tensor, key: Tensor, value: Tensor, added: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    scores = query.double() @ key.double().transpose(2, 3) * SCALE + added
    return scores.softmax(dim=-1) @ value.double(), scores.logsumexp(dim=-1)


def close(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], off: float = 1e-5) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, atol=off, rtol=off)


@pytest.mark.parametrize("queries", [1, 5, 12])
def test_plain_operations_give_the_output_and_the_log_of_its_denominator(queries: int) -> None:
    query, key, value = drawn(2, 3, queries, 8), drawn(2, 3, 40, 8), drawn(2, 3, 40, 8)
    output, lse = attend_plain(query, key, value, SCALE)
    assert lse.dtype == torch.float32
    close((output, lse), expected(query, key, value))


def test_a_mask_is_added_to_the_scores() -> None:
    query, key, value = drawn(2, 3, 5, 8), drawn(2, 3, 7, 8), drawn(2, 3, 7, 8)
    mask = drawn(2, 1, 1, 7)
    close(
        attend_plain(query, key, value, SCALE, mask=mask),
        expected(query, key, value, mask.double()),
    )


def test_a_causal_text_sees_what_lies_before_each_token() -> None:
    query, key, value = drawn(2, 3, 9, 8), drawn(2, 3, 9, 8), drawn(2, 3, 9, 8)
    hidden = torch.full((9, 9), -torch.inf, dtype=torch.float64).triu(1)
    close(attend_plain(query, key, value, SCALE, causal=True), expected(query, key, value, hidden))


def test_half_precision_keeps_its_dtype_and_the_logs_in_float32() -> None:
    query, key, value = (drawn(1, 2, n, 8, dtype=torch.bfloat16) for n in (3, 50, 50))
    output, lse = attend_plain(query, key, value, SCALE)
    assert (output.dtype, lse.dtype) == (torch.bfloat16, torch.float32)
    close((output, lse), expected(query, key, value), off=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF_DTYPES])
def test_the_flash_kernel_serves_nobody_on_a_cpu(dtype: torch.dtype) -> None:
    tensor = drawn(1, 2, 16, 64, dtype=dtype)
    assert not flash_serves(tensor, tensor, tensor)
    assert not flash_serves(tensor, tensor, tensor, causal=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_on_a_gpu_the_flash_kernel_gives_what_plain_operations_do(
    dtype: torch.dtype, causal: bool
) -> None:
    rows = 96 if causal else 700
    query, key, value = (drawn(2, 3, n, 64, dtype=dtype, device="cuda") for n in (96, rows, rows))
    assert flash_serves(query, key, value, causal=causal)
    found = attend_flash(query, key, value, SCALE, causal=causal)
    plain = attend_plain(query, key, value, SCALE, causal=causal)
    close(found, (plain[0].double(), plain[1].double()), off=3e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_flash_kernel_is_not_for_float32_or_nothing() -> None:
    full = drawn(1, 2, 16, 64, device="cuda")
    half = full.to(torch.bfloat16)
    assert not flash_serves(full, full, full)
    assert not flash_serves(half, half[:, :, :0], half[:, :, :0])
