"""Scores of a stock decoder, whose queries and keys come rotated to their positions.

A decoder knows distances to the left alone. To look ahead, queries and keys are turned to negated
positions, so that a token so far to the right looks like one so far to the left; the side is told
by a learned vector v' on the query, the counterpart of the published model's own bias. The
ablation ``signed`` leaves them as they are rotated: distances that the decoder has never met.

Shapes: B batch, H heads, G key/value heads, D head width, R rotated width, m remembered positions,
T tokens of a segment.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memplus.backbone.rope import Angles, rotate
from memplus.systems.lamemo.layer_step import Scores

__all__ = ["RotaryScoring"]


@dataclass(frozen=True)
class RotaryScoring:
    """``scale * q . k``, mirrored to the right where there are ``angles``."""

    scale: float
    angles: Angles | None = None
    """cos and sin of positions 0 .. m or more, float32 at least, [m + 1, R / 2] each; None: signed
    distances."""
    direction: Tensor | None = None
    """v' [H, D], added to the queries that look ahead before they are rotated; None: nothing."""

    def left(self, query: Tensor, key: Tensor) -> Scores:
        """See ``Scoring.left``."""
        return Scores(query, key, self.scale)

    def right(self, query: Tensor, key: Tensor, first: int) -> Scores:
        """See ``Scoring.right``."""
        if self.angles is None:
            return Scores(query, key, self.scale)
        count = query.shape[2]
        negated, twice = _negated(self.angles), _back_twice(self.angles)
        query = _turned(query, (twice[0][:count], twice[1][:count]))
        there = slice(first, first + key.shape[2])
        key = _turned(key, (twice[0][there], twice[1][there]))
        if self.direction is not None:
            bias = self.direction.expand(count, -1, -1)
            turned = rotate(bias, (negated[0][:count], negated[1][:count]))
            query = query + turned.transpose(0, 1).to(query.dtype)
        return Scores(query, key, self.scale)


def _turned(states: Tensor, angles: Angles) -> Tensor:
    """Turn [B, H, P, D] by angles [P, R / 2]."""
    return rotate(states.transpose(1, 2), angles).transpose(1, 2)


def _negated(angles: Angles) -> Angles:
    """Of the same positions, negated."""
    return angles[0], -angles[1]


def _back_twice(angles: Angles) -> Angles:
    """What turns from a position to its negation: minus twice the angle.

    Some families scale their angles (yarn); the scale is in what is turned already.
    """
    cos, sin = angles
    if not cos.shape[1]:
        return angles
    scale = cos[:1, :] ** 2
    return (cos * cos - sin * sin) / scale, -2 * sin * cos / scale
