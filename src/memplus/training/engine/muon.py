"""Muon as torch has it, in float32."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon"]


class Muon(torch.optim.Muon):
    """Torch's Muon, its orthogonal updates in float32 and for all matrices of one shape at once.

    Torch computes them in bfloat16, matrix by matrix: on a CPU without bfloat16 products this took
    a third of a step of the nano. The rate is adjusted as by ``match_rms_adamw``, so that AdamW's
    rates and weight decay serve.

    Args:
        params: matrices, each (rows, columns).
        lr, weight_decay, momentum: as in ``torch.optim.Muon``.

    Raises:
        ValueError: a weight is no matrix.
    """

    def __init__(
        self, params: list[Tensor], lr: float, weight_decay: float, momentum: float
    ) -> None:
        super().__init__(params, lr, weight_decay, momentum, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every weight that has a gradient.

        Args:
            closure: computes the loss and its gradients before; None: they are there.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape].append(weight)
            for shape, weights in alike.items():
                updates = torch.stack([self._momentum(weight, group) for weight in weights])
                updates = _orthogonal(updates, group)
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update, alpha=-rate)
        return loss

    def _momentum(self, weight: Tensor, group: dict[str, Any]) -> Tensor:
        """The gradient with what went before, looking one step ahead (Nesterov)."""
        gradient, state = weight.grad, self.state[weight]
        assert gradient is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean: Tensor = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(mean, group["momentum"])


def _orthogonal(matrices: Tensor, group: dict[str, Any]) -> Tensor:
    """Newton and Schulz's iteration, which draws all singular values towards 1.

    Args:
        matrices: (number, rows, columns).
        group: ``ns_coefficients``, ``ns_steps`` and ``eps`` of torch's Muon.
    """
    first, third, fifth = group["ns_coefficients"]
    tall = matrices.shape[1] > matrices.shape[2]
    found = (matrices.mT if tall else matrices).float()
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = found @ found.mT
        gram = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        found = torch.baddbmm(found, gram, found, beta=first)
    return (found.mT if tall else found).to(matrices.dtype)
