"""What memplus must know of each family of decoders, in one table.

Only names and the order of projections: the modules themselves are the stock ones.

Shapes: B batch, P rows, d hidden size, H key/value heads, Q query heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["FAMILIES", "Family"]

KeyValue = tuple[Tensor, Tensor]


def _heads(states: Tensor, head_dim: int) -> Tensor:
    """[..., P, H * D] -> [..., P, H, D]."""
    heads: Tensor = states.unflatten(-1, (-1, head_dim))
    return heads


def _separate(attention: Any, normed: Tensor, head_dim: int) -> KeyValue:
    """k_proj and v_proj: Llama and most others."""
    return (
        _heads(attention.k_proj(normed), head_dim),
        _heads(attention.v_proj(normed), head_dim),
    )


def _separate_head_norm(attention: Any, normed: Tensor, head_dim: int) -> KeyValue:
    """k_norm on each head: Qwen3, Gemma3."""
    keys, values = _separate(attention, normed, head_dim)
    return attention.k_norm(keys), values


def _separate_flat_norm(attention: Any, normed: Tensor, head_dim: int) -> KeyValue:
    """k_norm over all heads at once: OLMo2."""
    keys = attention.k_norm(attention.k_proj(normed))
    return _heads(keys, head_dim), _heads(attention.v_proj(normed), head_dim)


def _fused_in_a_row(attention: Any, normed: Tensor, head_dim: int) -> KeyValue:
    """qkv_proj, queries first, then keys, then values: Phi3."""
    width = attention.num_key_value_heads * head_dim
    fused = attention.qkv_proj(normed)
    return _heads(fused[..., -2 * width : -width], head_dim), _heads(fused[..., -width:], head_dim)


def _fused_by_head(attention: Any, normed: Tensor, head_dim: int) -> KeyValue:
    """query_key_value, the three interleaved head by head: GPT-NeoX."""
    fused = attention.query_key_value(normed).unflatten(-1, (-1, 3 * head_dim))
    return fused[..., head_dim : 2 * head_dim], fused[..., 2 * head_dim :]


def _query(attention: Any, normed: Tensor, head_dim: int) -> Tensor:
    """q_proj: Llama and most others."""
    return _heads(attention.q_proj(normed), head_dim)


def _query_head_norm(attention: Any, normed: Tensor, head_dim: int) -> Tensor:
    """q_norm on each head: Qwen3, Gemma3."""
    normed_heads: Tensor = attention.q_norm(_query(attention, normed, head_dim))
    return normed_heads


def _query_flat_norm(attention: Any, normed: Tensor, head_dim: int) -> Tensor:
    """q_norm over all heads at once: OLMo2."""
    return _heads(attention.q_norm(attention.q_proj(normed)), head_dim)


def _query_in_a_row(attention: Any, normed: Tensor, head_dim: int) -> Tensor:
    """The first part of qkv_proj: Phi3."""
    width = attention.num_key_value_heads * head_dim
    return _heads(attention.qkv_proj(normed)[..., : -2 * width], head_dim)


def _query_by_head(attention: Any, normed: Tensor, head_dim: int) -> Tensor:
    """The first third of each head of query_key_value: GPT-NeoX."""
    return _heads(attention.query_key_value(normed), 3 * head_dim)[..., :head_dim]


@dataclass(frozen=True)
class Family:
    """Where a family keeps what memory rows need of a layer."""

    project: Callable[[Any, Tensor, int], KeyValue]
    """(attention, normed rows [..., P, d], D) -> unrotated keys and values [..., P, H, D]."""
    input_norm: str | None = "input_layernorm"
    """Name of the norm before attention; None where the family has none."""
    attention: str = "self_attn"
    """Name of the attention module in a layer."""
    query: Callable[[Any, Tensor, int], Tensor] = _query
    """(attention, normed rows [..., P, d], D) -> unrotated queries [..., P, Q, D]."""
    outputs: tuple[str, str] = ("self_attn.o_proj", "mlp.down_proj")
    """Names in a layer of the linear layers that attention and the feed-forward part end with."""


FAMILIES: dict[str, Family] = {
    "llama": Family(_separate),
    "mistral": Family(_separate),
    "qwen2": Family(_separate),
    "smollm3": Family(_separate),
    "gemma2": Family(_separate),
    "qwen3": Family(_separate_head_norm, query=_query_head_norm),
    "gemma3_text": Family(_separate_head_norm, query=_query_head_norm),
    "olmo2": Family(_separate_flat_norm, input_norm=None, query=_query_flat_norm),
    "phi3": Family(_fused_in_a_row, query=_query_in_a_row),
    "gpt_neox": Family(
        _fused_by_head,
        attention="attention",
        query=_query_by_head,
        outputs=("attention.dense", "mlp.dense_4h_to_h"),
    ),
}
"""By ``config.model_type``."""
