"""Which cached vectors a segment is read with: the mean of all of them, weighted by its summary.

Shapes: B rows, n cached vectors, d hidden size, e retrieval width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Retrieval"]


class Retrieval(nn.Module):
    """One head of attention over the cache; its values are the cached vectors themselves.

    Args:
        width: d.
        dim: e.
        bfloat16: compute in bfloat16 as the published code does, not in float32.
    """

    def __init__(self, width: int, dim: int, *, bfloat16: bool = False) -> None:
        super().__init__()
        self.published = bfloat16
        self.query = nn.Parameter(torch.empty(dim, width))
        self.key = nn.Parameter(torch.empty(dim, width))
        for weight in (self.query, self.key):
            nn.init.uniform_(weight, -(width**-0.5), width**-0.5)

    def forward(self, summary: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """Retrieve.

        Args:
            summary: [B, d].
            cache: [B, n, d], n at least 1.

        Returns:
            [B, d] the weighted mean, and [B, n] the weights, which sum to 1.
        """
        scale = self.query.shape[0] ** -0.5
        if self.published:
            return self._published(summary.bfloat16(), cache.bfloat16(), scale)
        wide = torch.promote_types(cache.dtype, torch.float32)
        summary, cache = summary.to(wide), cache.to(wide)
        # Keys of the whole cache would cost e products for each vector; the query goes to the
        # vectors' side instead, once.
        query = functional.linear(summary, self.query.to(wide)) @ self.key.to(wide)
        weights = (torch.einsum("bnd,bd->bn", cache, query) * scale).softmax(dim=-1)
        return torch.einsum("bn,bnd->bd", weights, cache), weights

    def _published(self, summary: Tensor, cache: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        query = functional.linear(summary, self.query.bfloat16())
        keys = functional.linear(cache, self.key.bfloat16())
        scores = (keys @ query[..., None])[..., 0] * scale
        weights = scores.float().softmax(dim=-1).bfloat16()
        return (weights[:, None] @ cache)[:, 0], weights.float()
