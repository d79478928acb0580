"""Scores of the published model: Transformer-XL's relative encoding, disentangled (section 3.2).

The distance is a sinusoid, the same to both sides; which side it is is told by the bias that
stands before it, v to the left and v' to the right.

Shapes: B batch, H heads, D head width, d width, m remembered positions, T tokens of a segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.systems.lamemo.layer_step import Scores

__all__ = ["Biases", "RelativeScoring", "sinusoids"]


@dataclass(frozen=True)
class Biases:
    """Learned vectors [H, D] that stand in a query's place, the same in all layers."""

    content: Tensor
    """u, added to the query that meets a key."""
    left: Tensor
    """v, added to the query that meets a distance to the left."""
    right: Tensor
    """v', the same to the right."""


def sinusoids(distances: int, frequencies: Tensor) -> Tensor:
    """R(s) = [sin(s w), cos(s w)] of s = 0, 1, ..., as [distances, d].

    Args:
        distances: how many.
        frequencies: w, [d / 2].
    """
    place = torch.arange(distances, device=frequencies.device, dtype=frequencies.dtype)
    angles = place[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


@dataclass(frozen=True)
class RelativeScoring:
    """``((q + u) . k + (q + v) . r(distance)) / sqrt(D)``, with v' in v's place to the right."""

    distances: Tensor
    """[>= m + T, H, D] r(0), r(1), ...: the sinusoids, projected as the layer projects them."""
    biases: Biases
    clamp: int | None = None
    """Larger distances count as this one; None: none is too large."""

    def left(self, query: Tensor, key: Tensor) -> Scores:
        """See ``Scoring.left``."""
        total, tokens = key.shape[2], query.shape[2]
        keys = torch.arange(total, device=key.device)
        apart = keys[total - tokens :, None] - keys[None, :]
        return self._scores(query, key, apart, self.biases.left)

    def right(self, query: Tensor, key: Tensor, first: int) -> Scores:
        """See ``Scoring.right``."""
        count = query.shape[2]
        place = torch.arange(count + 1, device=key.device)
        apart = place[None, first:] - place[:count, None]
        return self._scores(query, key, apart, self.biases.right)

    def _scores(self, query: Tensor, key: Tensor, apart: Tensor, bias: Tensor) -> Scores:
        """Of queries [B, H, Q, D] and keys [B, H, K, D] that are ``apart`` [Q, K] (below 0: not
        to be looked at, any number will do)."""
        scale = query.shape[3] ** -0.5
        content = query + self.biases.content[:, None]
        known = (query + bias[:, None]) @ self.distances.permute(1, 2, 0)
        wanted = apart.clamp(min=0, max=self.clamp)
        position = known.gather(3, wanted.expand(*known.shape[:2], *wanted.shape))
        return Scores(content, key, scale, position * scale)
