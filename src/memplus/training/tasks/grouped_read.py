"""Many questions read at once: groups that share a prefix, each question with rows of its own.

Shapes: G groups, q questions of a group, Q = G * q, t tokens of a question row, p those of the
longest prompt, P rows that a group shares, M rows of a question's own, H heads, K key/value heads,
r = H / K, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.backbone.attention import Attended, AttentionCall, Segment
from memplus.passes.read import Prefix, ReadSession

__all__ = ["GroupedPrefix", "GroupedReadSession", "GroupedRows", "gather_rows", "prompt_tokens"]


@dataclass(frozen=True)
class GroupedRows:
    """One layer's prefix, rotated."""

    shared: Segment
    """[G, K, P, D] bos and each group's short-term rows."""
    own: Segment | None
    """[Q, K, M, D] what each question retrieved."""
    bias: tuple[Tensor, Tensor] | None = None
    """[Q, P] and [Q, M] added to the attention scores of shared and own rows."""


class GroupedPrefix(Prefix):
    """A prefix that fills ``layers`` as the read prepares them."""

    def __init__(self) -> None:
        self.layers: dict[int, GroupedRows] = {}


class GroupedReadSession(ReadSession):
    """A read of such a prefix: each group's questions attend to its rows without a copy of them.

    One softmax in plain operations over [shared | own | text]; on a CPU faster forth and back than
    the fused kernel over a concatenation, and the same numbers to rounding.
    """

    prefix: GroupedPrefix

    def attend(self, call: AttentionCall) -> Attended:
        """[Q, t, H, D]; the weights stay here."""
        rows = self.prefix.layers[call.layer]
        count, heads, length, width = call.query.shape
        pools, kv_heads, before = rows.shared[0].shape[:3]
        query = (call.query * call.scale).reshape(count, kv_heads, -1, width)
        keys, values = call.key, call.value
        if rows.own is not None:
            keys = torch.cat([rows.own[0].to(keys.dtype), keys], dim=2)
            values = torch.cat([rows.own[1].to(values.dtype), values], dim=2)
        shared = _spread(_grouped(query, pools) @ rows.shared[0].transpose(-1, -2), count)
        text = query @ keys.transpose(-1, -2) + _text_mask(call, keys.shape[2])
        if rows.bias is not None:
            before_text, own = (part[:, None, None].to(shared.dtype) for part in rows.bias)
            shared = shared + before_text
            text = text + torch.nn.functional.pad(own, (0, text.shape[3] - own.shape[3]))
        scores = torch.cat([shared, text], dim=3)
        weights = torch.softmax(scores, dim=3, dtype=scores.dtype)
        seen = _spread(_grouped(weights[..., :before], pools) @ rows.shared[1], count)
        output = (seen + weights[..., before:] @ values).reshape(count, heads, length, width)
        return output.transpose(1, 2).contiguous(), None


def _grouped(rows: Tensor, pools: int) -> Tensor:
    """[Q, K, r * t, x] -> [G, K, q * r * t, x]."""
    count, kv_heads, length, width = rows.shape
    parts = rows.view(pools, count // pools, kv_heads, length, width)
    return parts.transpose(1, 2).reshape(pools, kv_heads, -1, width)


def _spread(rows: Tensor, count: int) -> Tensor:
    """Undo ``_grouped``."""
    pools, kv_heads, _, width = rows.shape
    parts = rows.view(pools, kv_heads, count // pools, -1, width)
    return parts.transpose(1, 2).reshape(count, kv_heads, -1, width)


def _text_mask(call: AttentionCall, keys: int) -> Tensor:
    """[1 or Q, 1, r * t, keys] to add: what is retrieved is seen by all, the text causally."""
    mask, dtype = call.mask, call.query.dtype
    assert mask is not None, "the registered mask functions always return a mask"
    if mask.dtype == torch.bool:
        hidden = torch.finfo(dtype).min / 2
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, hidden)
    mask = torch.nn.functional.pad(mask.to(dtype), (keys - mask.shape[3], 0))
    return mask.repeat(1, 1, call.query.shape[1] // call.key.shape[1], 1)


def prompt_tokens(prompt: Tensor) -> tuple[Tensor, Tensor]:
    """Where each prompt's own tokens stand, and what each of them counts.

    Scores are needed at these alone, a small part of a row that has a tail.

    Args:
        prompt: [Q, t] true at prompt tokens.

    Returns:
        [Q, p] places in order, then padding, and [Q, p] shares: 0 at padding, 1 together.
    """
    longest = int(prompt.sum(dim=1).max())
    places = prompt.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
    there = prompt.gather(1, places)
    return places, there / there.sum(dim=1, keepdim=True)


def gather_rows(rows: Tensor, indices: Tensor) -> Tensor:
    """Rows [R, H, D] by indices [B, n] -> [B, n, H, D]."""
    return rows.index_select(0, indices.reshape(-1)).view(*indices.shape, *rows.shape[1:])
