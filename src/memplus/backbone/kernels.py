"""Attention that tells the log of its denominator, where the tensors do not lie on the CPU.

A part of a prefix is merged with the others by these logs (``backbone.attention``), which the
library's public function keeps to itself. On a CUDA GPU its flash kernel gives them in bfloat16
and float16; plain operations do everywhere, and where scores have a mask or a bias.

Shapes: B batch, G key heads, R queries of a lane, P rows, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_flash_attention

__all__ = ["attend_flash", "attend_plain", "flash_serves"]

_ALIGNED = 8
"""The kernel takes heads whose width is a multiple of this as they lie; others would be copied."""


def flash_serves(query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False) -> bool:
    """Whether the flash kernel takes these tensors as they are; never on a CPU.

    Whoever has switched the kernel off (``torch.nn.attention.sdpa_kernel``) gets plain operations.

    Args:
        query: [B, G, R, D].
        key: [B, G, P, D].
        value: [B, G, P, D].
        causal: whether later rows are hidden from earlier queries.
    """
    if query.device.type != "cuda" or query.shape[-1] % _ALIGNED or not key.shape[2]:
        return False
    parameters = SDPAParams(query, key, value, None, 0.0, causal, False)  # noqa: FBT003
    return bool(can_use_flash_attention(parameters))


def attend_flash(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Softmax attention of tensors that ``flash_serves``, with the log of its denominator.

    Returns:
        [B, G, R, D] in the query's dtype, and [B, G, R] float32.
    """
    out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
        query, key, value, 0.0, causal, scale=scale
    )
    return out, lse


def attend_plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """The same in plain operations, of one row or more; as few as can be, for each has its price.

    Args:
        query: [B, G, R, D].
        key: [B, G, P, D].
        value: [B, G, P, D].
        scale: what scores are multiplied by.
        mask: added to them, [B or 1, G or 1, R or 1, P]; None adds nothing.
        causal: row i is hidden from the queries before the i-th.

    Returns:
        [B, G, R, D] in the dtype of the values, and [B, G, R] float32.
    """
    scores = torch.matmul(query, key.transpose(-1, -2)).float() * scale
    if mask is not None:
        scores += mask
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores.masked_fill_(future, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    # The largest weight tells the denominator in fewer calls than a sum of exponentials.
    lse = scores.amax(dim=-1) - weights.amax(dim=-1).log()
    return torch.matmul(weights.to(value.dtype), value), lse
