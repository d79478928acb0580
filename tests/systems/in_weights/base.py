"""A base as it can be looked at from outside."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from memplus import MPlus

__all__ = ["Base"]


@dataclass(frozen=True)
class Base:
    """All that training might leave behind in a model."""

    weights: dict[str, Tensor]
    wants_gradients: dict[str, bool]
    training: dict[str, bool]
    hooks: dict[str, int]
    attention: str

    @classmethod
    def of(cls, model: MPlus) -> Base:
        """A copy of what there is now."""
        stock: nn.Module = model.model
        modules = dict(stock.named_modules())
        return cls(
            {name: one.detach().clone() for name, one in stock.state_dict().items()},
            {name: one.requires_grad for name, one in stock.named_parameters()},
            {name: one.training for name, one in modules.items()},
            {
                name: len(one._forward_hooks) + len(one._forward_pre_hooks)
                for name, one in modules.items()
            },
            str(model.backbone.config._attn_implementation),
        )

    def require_same(self, model: MPlus) -> None:
        """Assert that the model is as it was, bit for bit, without any gradient."""
        now = Base.of(model)
        assert now.weights.keys() == self.weights.keys()
        assert all(torch.equal(one, self.weights[name]) for name, one in now.weights.items())
        assert now.wants_gradients == self.wants_gradients
        assert now.training == self.training
        assert now.hooks == self.hooks
        assert now.attention == self.attention
        assert all(one.grad is None for one in model.model.parameters())
