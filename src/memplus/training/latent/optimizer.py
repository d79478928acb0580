"""Two learning rates: that of what is new, and that of low-rank updates of the decoder."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW

from memplus.backbone.lora import Lora
from memplus.training.latent.run_config import SystemOptimizer

__all__ = ["make_optimizer"]


def make_optimizer(module: nn.Module, config: SystemOptimizer) -> AdamW:
    """AdamW over the weights that are trained.

    Args:
        module: those of its weights that have gradients are trained; those inside a ``Lora`` have
            ``adapter_rate``, and only matrices decay.
        config: rates and decay.
    """
    updates = {
        id(weight)
        for part in module.modules()
        if isinstance(part, Lora)
        for weight in part.parameters()
    }
    rate = config.learning_rate
    adapter_rate = rate if config.adapter_rate is None else config.adapter_rate
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for weight in module.parameters():
        if weight.requires_grad:
            decay = config.weight_decay if weight.dim() > 1 else 0.0
            key = (adapter_rate if id(weight) in updates else rate, decay)
            groups.setdefault(key, []).append(weight)
    made: list[dict[str, Any]] = [
        {"params": weights, "lr": lr, "weight_decay": decay}
        for (lr, decay), weights in groups.items()
    ]
    return AdamW(made, lr=rate, betas=config.betas)
