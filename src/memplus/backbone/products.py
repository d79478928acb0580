"""Attention over many rows in plain products, on the CPU.

The fused kernel of the library wants keys row by row, and without AMX it multiplies bfloat16
slowly. Here the queries of a lane are the rows of one product with a block of keys and of one with
its values. The softmax between them is online: the scores of a block stay in the processor's cache,
maxima and denominators are float32.

Shapes: B batch, G key heads, C lanes (B times G), R queries of a lane, P rows, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memplus.backbone.processor import bfloat16_unit, multiplies_fast

__all__ = ["attend_rows", "attend_token", "empty_keys", "products_serve", "token_served"]

_SCORES = 1 << 19
"""Scores worked out at a time: 2 MiB of float32, which caches of the second or third level hold."""
_QUERIES = 128
"""Most queries of a lane in one product."""
_BLOCK = 512
"""Least rows in one product."""
_SMALL = 1 << 19
"""Up to so many multiplications the fused kernel's single call is the quicker."""
_FEW = 32
"""Up to so many queries of a lane, rows that have to be converted first take longer."""
_LARGE = 1 << 18
"""From so many numbers on, keys are laid out for products."""


def products_serve(query: Tensor, key: Tensor) -> bool:
    """Whether plain products are quicker than the fused kernel, or the only way.

    Args:
        query: [B, G, R, D].
        key: [B, G, P, D], which the fused kernel takes only with its numbers side by side.
    """
    if key.stride(-1) != 1:
        return True
    if query.dtype not in (torch.bfloat16, torch.float16):
        return False
    if query.dtype == torch.bfloat16 and bfloat16_unit() == "AMX":
        return False  # the fused kernel multiplies with it too, and keeps scores where they are
    queries = query.shape[2]
    if query.numel() * key.shape[2] <= _SMALL:
        return False
    return queries > _FEW or multiplies_fast(query.dtype)


def empty_keys(like: Tensor, heads: int, rows: int, width: int) -> Tensor:
    """Room for keys [heads, rows, width] of the dtype and on the device of ``like``.

    In float32 on the CPU the rows lie side by side, number by number: few queries then go through
    the keys as fast as the memory gives them.
    """
    large = heads * rows * width >= _LARGE
    if large and like.dtype == torch.float32 and like.device.type == "cpu":
        return like.new_empty((heads, width, rows)).transpose(1, 2)
    return like.new_empty((heads, rows, width))


def attend_rows(
    query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Softmax attention without a mask, with the log of its denominator.

    Args:
        query: [B, G, R, D].
        key: [B, G, P, D], P > 0.
        value: [B, G, P, D].
        scale: what scores are multiplied by.
        bias: [B, R or 1, P] float32 added to them; None adds nothing.

    Returns:
        [B, G, R, D] in the query's dtype, and [B, G, R] float32.
    """
    queries, width = query.shape[2:]
    dtype = query.dtype if multiplies_fast(query.dtype) else torch.float32
    lanes = (query.float() * scale).to(dtype).flatten(0, 1)
    keys, values = key.flatten(0, 1), value.flatten(0, 1)
    taken = min(queries, _QUERIES)
    block = min(keys.shape[1], max(_SCORES // taken, _BLOCK))
    together = max(1, _SCORES // (taken * block))
    out = query.new_empty((len(lanes), queries, width))
    lse = query.new_empty((len(lanes), queries), dtype=torch.float32)
    if bias is not None:
        bias = bias.repeat_interleave(query.shape[1], dim=0).expand(-1, queries, -1)
    for lane in range(0, len(lanes), together):
        these = slice(lane, lane + together)
        for first in range(0, queries, taken):
            some = slice(first, first + taken)
            added = None if bias is None else bias[these, some]
            found = _online(lanes[these, some], keys[these], values[these], block, added)
            out[these, some], lse[these, some] = found
    return out.reshape(query.shape), lse.reshape(query.shape[:3])


def token_served(query: Tensor) -> bool:
    """Whether ``attend_token`` is quick for queries like these."""
    return query.device.type != "cpu" or multiplies_fast(query.dtype)


def attend_token(query: Tensor, parts: Sequence[tuple[Tensor, Tensor, Tensor | None]]) -> Tensor:
    """Softmax attention of one token over all of its rows, wherever they lie, in few calls.

    Args:
        query: [G, H / G, D], multiplied by what scores are multiplied by.
        parts: keys [G, D, P], values [G, P, D] and what is added to their scores, [P] of the
            query's dtype, or None.

    Returns:
        [G, H / G, D].
    """
    scores = [
        torch.bmm(query, key) if bias is None else torch.baddbmm(bias, query, key)
        for key, _, bias in parts
    ]
    whole = scores[0] if len(scores) == 1 else torch.cat(scores, dim=2)
    weights = whole.softmax(dim=2, dtype=torch.float32).to(query.dtype)
    start = parts[0][1].shape[1]
    output = torch.bmm(weights.narrow(2, 0, start), parts[0][1])
    for _, value, _ in parts[1:]:
        count = value.shape[1]
        output.baddbmm_(weights.narrow(2, start, count), value)
        start += count
    return output


def _online(
    query: Tensor, key: Tensor, value: Tensor, block: int, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention of a few lanes, block of rows by block: [C, R, D] and [C, R], float32."""
    first = None if bias is None else bias[..., :block]
    output, lse = _attend_block(query, key[:, :block], value[:, :block], first)
    for start in range(block, key.shape[1], block):
        rows = slice(start, start + block)
        added = None if bias is None else bias[..., rows]
        other, other_lse = _attend_block(query, key[:, rows], value[:, rows], added)
        both = torch.logaddexp(lse, other_lse)
        output.mul_(torch.exp(lse - both)).add_(other.mul_(torch.exp(other_lse - both)))
        lse = both
    return output, lse[..., 0]


def _attend_block(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Output [C, R, D] and the logs of the denominators [C, R, 1], float32."""
    dtype = query.dtype
    scores = _product(query, key.to(dtype).transpose(1, 2)).float()
    if bias is not None:
        scores += bias
    top = scores.amax(dim=-1, keepdim=True)
    # One call for all of a softmax is quicker than its steps; its largest weight is what the
    # largest score has of the denominator.
    weights = scores.softmax(dim=-1)
    lse = top - weights.amax(dim=-1, keepdim=True).log_()
    return _product(weights.to(dtype), value.to(dtype)).float(), lse


def _product(one: Tensor, other: Tensor) -> Tensor:
    """``bmm``; of a single lane without the copy that it makes of keys laid out row by row."""
    return torch.mm(one[0], other[0])[None] if len(one) == 1 else torch.bmm(one, other)
