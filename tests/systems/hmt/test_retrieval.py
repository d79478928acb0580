import pytest
import torch
from torch import Tensor

from memplus.systems.hmt.retrieval import Retrieval


def given(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    summary = torch.randn(2, 8, generator=generator)
    return summary.to(dtype), torch.randn(2, 5, 8, generator=generator).to(dtype)


def retrieval(*, bfloat16: bool = False) -> Retrieval:
    torch.manual_seed(0)
    return Retrieval(8, 16, bfloat16=bfloat16)


@torch.no_grad()
def test_it_is_softmax_of_scaled_products_over_the_raw_vectors() -> None:
    made, (summary, cache) = retrieval(), given()
    queries, keys = summary @ made.query.T, cache @ made.key.T
    expected = torch.softmax((keys * queries[:, None]).sum(dim=-1) / 16**0.5, dim=-1)
    vector, weights = made(summary, cache)
    assert torch.allclose(weights, expected, atol=1e-6)
    assert torch.allclose(vector, (expected[..., None] * cache).sum(dim=1), atol=1e-6)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2))


@torch.no_grad()
def test_it_is_computed_in_float32_for_a_model_in_bfloat16() -> None:
    made, (summary, cache) = retrieval(), given(torch.bfloat16)
    vector, weights = made(summary, cache)
    assert (vector.dtype, weights.dtype) == (torch.float32, torch.float32)
    assert vector.equal(made(summary.float(), cache.float())[0])


@torch.no_grad()
def test_the_published_one_rounds_to_bfloat16() -> None:
    summary, cache = given()
    exact, _ = retrieval()(summary, cache)
    vector, weights = retrieval(bfloat16=True)(summary, cache)
    assert vector.dtype == torch.bfloat16
    assert weights.bfloat16().float().equal(weights)
    assert 0 < (vector.float() - exact).abs().max() < 5e-2


@pytest.mark.parametrize("published", [False, True])
def test_gradients_reach_everything(published: bool) -> None:
    made, (summary, cache) = retrieval(bfloat16=published), given()
    summary.requires_grad_()
    cache.requires_grad_()
    made(summary, cache)[0].float().square().sum().backward()
    for one in (summary, cache, made.query, made.key):
        assert one.grad is not None
        assert bool(one.grad.any())
