"""One layer of LaMemo (section 3): attention to the left, to the right, and the two as one.

How queries and keys are scored is given: by the relative encoding of the published model
(``relative``) or by the rotated keys of a stock decoder (``rotary``). Nothing here knows either.

Remembered positions are 0 .. m-1, the segment's are m .. m+T-1. A remembered position looks to the
right as far as the segment's first token: the next segment's first token ends the next look.

Shapes: B batch, H heads, G key/value heads, D head width, m remembered positions, T tokens of a
segment, Q queries, K keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from memplus.backbone.attention import attend_masked

__all__ = [
    "Blend",
    "LayerStep",
    "Projected",
    "Remembered",
    "Scores",
    "Scoring",
    "Sight",
    "attend",
    "interpolated",
    "layer_step",
    "log_dtype",
    "mixed",
    "sight_of",
    "weights_of",
]


class Projected(NamedTuple):
    """Queries, keys and values of remembered positions and segment, as the layer projects them."""

    query: Tensor
    """[B, H, m + T, D]."""
    key: Tensor
    """[B, G, m + T, D]."""
    value: Tensor
    """[B, G, m + T, D]."""


class Scores(NamedTuple):
    """Queries against keys: ``scale * query . key + position``."""

    query: Tensor
    """[B, H, Q, D]."""
    key: Tensor
    """[B, G, K, D]."""
    scale: float
    position: Tensor | None = None
    """[B, H, Q, K], what their distance adds; None where queries and keys carry it."""


class Scoring(Protocol):
    """How near positions are told from far ones, and right from left."""

    def left(self, query: Tensor, key: Tensor) -> Scores:
        """The segment's queries against all keys.

        Args:
            query: [B, H, T, D] of positions m .. m+T-1.
            key: [B, G, m + T, D] of positions 0 .. m+T-1.
        """
        ...

    def right(self, query: Tensor, key: Tensor, first: int) -> Scores:
        """The remembered positions' queries against keys on their right.

        Args:
            query: [B, H, m, D] of positions 0 .. m-1.
            key: [B, G, K, D] of positions first .. m.
            first: position of the first key.
        """
        ...


class Remembered(NamedTuple):
    """What a layer keeps of the remembered positions."""

    context: Tensor
    """[B, m, H, D] attention output before the output projection, over all keys so far (C)."""
    logs: Tensor
    """[B, m, H] float32, logarithm of the softmax's denominator over all keys so far (Z)."""


@dataclass(frozen=True)
class Blend:
    """How what lies to the right is mixed in."""

    lookahead: bool = True
    """False: remembered positions stay as they were, which is Transformer-XL."""
    epsilon: float = 0.0
    """Added to the denominator of alpha (1e-6 in the published code; then it is no exact merge)."""
    offset: float = 0.0
    """Added to the scores of all keys on the right; below 0 they count for less."""


@dataclass(frozen=True)
class Sight:
    """Which keys a query may look at, the same in every layer of a pass."""

    first: int
    """The leftmost position that nothing remembered has looked at yet."""
    left: Tensor
    """[T, m + T] added to the segment's scores: 0, or a number that leaves nothing of them."""
    right: Tensor
    """[m, K] added to the remembered positions' scores against positions first .. m."""


class LayerStep(NamedTuple):
    """What a layer made of remembered positions and segment."""

    remembered: Remembered
    """Of all m + T positions, the older ones refreshed; with the graph it came from."""
    left: Scores
    """The segment's."""
    right: Scores | None
    """The remembered positions'; None where nothing is remembered or nothing looks ahead."""
    alpha: Tensor | None
    """[B, m, H] share of what was known before in the refreshed context; None as for ``right``."""


def layer_step(
    remembered: Remembered, projected: Projected, scoring: Scoring, sight: Sight, blend: Blend
) -> LayerStep:
    """Causal attention of the segment, look-ahead attention of what is remembered, and the mix.

    Args:
        remembered: of positions 0 .. m-1.
        projected: of positions 0 .. m+T-1.
        scoring: how they are scored.
        sight: which keys are looked at (``sight_of``).
        blend: how the two are mixed.
    """
    query, key, value = projected
    count = remembered.logs.shape[1]
    left = scoring.left(query[:, :, count:], key)
    context, logs = attend(left, value, sight.left, exact=False)  # they go into the state alone
    own = Remembered(context.transpose(1, 2), logs.transpose(1, 2))
    right = alpha = None
    if count and blend.lookahead:
        there = slice(sight.first, count + 1)
        right = scoring.right(query[:, :, :count], key[:, :, there], sight.first)
        ahead, ahead_logs = attend(right, value[:, :, there], sight.right)
        refreshed = Remembered(ahead.transpose(1, 2), ahead_logs.transpose(1, 2))
        remembered, alpha = interpolated(remembered, refreshed, blend)
    both = Remembered(
        torch.cat([remembered.context, own.context], dim=1),
        torch.cat([remembered.logs, own.logs], dim=1),
    )
    return LayerStep(both, left, right, alpha)


def sight_of(count: int, tokens: int, last: int, like: Tensor) -> Sight:
    """Who sees whom.

    The segment's tokens look at themselves and all before them. Remembered positions look to the
    right as far as the segment's first token; the first token of the segment before was looked at
    as that one was read, so that each position is looked at once.

    Args:
        count: m.
        tokens: T.
        last: tokens of the segment before.
        like: gives dtype and device.
    """
    first = max(1, count - last + 1)
    place = torch.arange(count + tokens, device=like.device)
    left = place[None, :] <= place[count:, None]
    right = place[None, first : count + 1] > place[:count, None]
    return Sight(first, _added(left, like), _added(right, like))


def _added(seen: Tensor, like: Tensor) -> Tensor:
    hidden = torch.finfo(like.dtype).min
    return like.new_zeros(seen.shape).masked_fill_(~seen, hidden)


def attend(
    scores: Scores, value: Tensor, mask: Tensor, *, exact: bool = True
) -> tuple[Tensor, Tensor]:
    """Softmax attention with its denominator.

    Args:
        scores: queries against keys.
        value: [B, G, K, D].
        mask: [Q, K] added to the scores (``Sight``).
        exact: whether the denominator must be differentiable, where anything is.

    Returns:
        [B, H, Q, D], and the logarithm of the denominator [B, H, Q], float32 at least.
    """
    query, key, scale, position = scores
    if position is None and not (exact and torch.is_grad_enabled()):
        return attend_masked(query, key, value, scale, mask)
    numbers = _numbers(scores, mask)
    weights = numbers.softmax(dim=-1)
    # The largest weight tells the denominator, with fewer exponentials than their sum.
    logs = numbers.amax(dim=-1) - weights.amax(dim=-1).log()
    return mixed(weights, value), logs


def mixed(weights: Tensor, value: Tensor) -> Tensor:
    """Values [B, G, K, D] by weights [B, H, Q, K]: [B, H, Q, D]."""
    folded = weights.to(value.dtype).reshape(*value.shape[:2], -1, value.shape[2])
    return (folded @ value).reshape(*weights.shape[:3], -1)


def weights_of(scores: Scores, mask: Tensor) -> Tensor:
    """Attention weights [B, H, Q, K], float32 at least.

    Args:
        scores: queries against keys.
        mask: added to the scores, to be broadcast to [B, H, Q, K].
    """
    return torch.softmax(_numbers(scores, mask), dim=-1)


def log_dtype(dtype: torch.dtype) -> torch.dtype:
    """Of scores and denominators, for queries of a dtype: float32, or float64 for that."""
    return torch.promote_types(dtype, torch.float32)


def _numbers(scores: Scores, mask: Tensor) -> Tensor:
    """[B, H, Q, K], float32 at least."""
    query, key, scale, position = scores
    folded = query.reshape(*key.shape[:2], -1, query.shape[3])
    found = (folded @ key.transpose(2, 3)).reshape(*query.shape[:3], key.shape[2])
    found = found.to(log_dtype(found.dtype)) * scale
    if position is not None:
        found = found + position
    return found + mask


def interpolated(before: Remembered, ahead: Remembered, blend: Blend) -> tuple[Remembered, Tensor]:
    """Two attentions over different keys as the one over all of them (equation 5).

    Args:
        before: [B, m, H, D] and [B, m, H], over the keys so far.
        ahead: the same over the keys on the right.
        blend: with ``epsilon`` 0 this is one softmax over both sets of keys.

    Returns:
        The mix, and alpha [B, m, H], the share of what was there before.
    """
    logs = ahead.logs + blend.offset if blend.offset else ahead.logs
    if blend.epsilon:
        larger = torch.maximum(before.logs, logs)
        old, new = (before.logs - larger).exp(), (logs - larger).exp()
        alpha = old / (old + new + blend.epsilon)
    else:
        alpha = torch.sigmoid(before.logs - logs)
    share = alpha.to(before.context.dtype)[..., None]
    context = torch.lerp(ahead.context, before.context, share)
    return Remembered(context, torch.logaddexp(before.logs, logs)), alpha
