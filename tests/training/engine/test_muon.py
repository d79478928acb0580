from __future__ import annotations

import pytest
import torch
from torch import nn

from memplus.training.engine.muon import Muon

SHAPES = [(8, 8), (24, 8), (8, 24), (8, 8), (5, 3)]
"""Square, tall and wide; two of one shape."""


def trained(kind: str, *, steps: int, scale: float = 1.0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    idle = nn.Parameter(torch.ones(2, 2))
    if kind == "torch":
        made: torch.optim.Optimizer = torch.optim.Muon(
            [*weights, idle], 0.02, 0.1, 0.95, adjust_lr_fn="match_rms_adamw"
        )
    else:
        made = Muon([*weights, idle], 0.02, 0.1, 0.95)
    for _ in range(steps):
        for weight in weights:
            weight.grad = scale * torch.randn(weight.shape, generator=generator)
        made.step()
    assert idle.equal(torch.ones(2, 2)), "what has no gradient stays"
    return weights


def test_it_moves_as_torchs_does_but_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    start = trained("ours", steps=0)
    ours, theirs = trained("ours", steps=6), trained("torch", steps=6)
    for before, one, two in zip(start, ours, theirs, strict=True):
        moved = (two - before).norm()
        assert (one - two).norm() < 0.02 * moved
    # Computed in float32, torch's moves are ours to rounding.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    for one, two in zip(ours, trained("torch", steps=6), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_a_gradient_of_nothing_but_zeros_is_no_fault() -> None:
    for weight in trained("ours", steps=2, scale=0.0):
        assert weight.isfinite().all()


def test_a_closure_is_called_with_gradients() -> None:
    weight = nn.Parameter(torch.eye(3))

    def closure() -> float:
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert Muon([weight], 0.1, 0.0, 0.9).step(closure) == 3.0
    assert weight.detach().trace() < 3
