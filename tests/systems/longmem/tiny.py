"""LongMem on tiny random decoders, and the same computed slowly, number by number.

Shapes: T tokens, d hidden size, H query heads, G key/value heads, D head width, c tokens of a
chunk.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from tests.fakes import make_model
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.systems.longmem.mechanism import LongMem
from memplus.systems.longmem.options import LongMemOptions

FAMILIES = ["llama", "qwen3", "gpt_neox"]
OPTIONS = LongMemOptions(
    reduction=2,
    memory_layer=2,
    chunk_tokens=2,
    retrieved_tokens=6,
    bank_tokens=64,
    segment_tokens=10,
    gate_rate=2.0,
    init="published",
)
Chunk = tuple[Tensor, Tensor]
"""Keys and values [c, G, D] each."""


def make_longmem(name: str = "llama", seed: int = 0, **changes: Any) -> LongMem:
    """With weights that are no copies of the decoder's, and gates that differ by head."""
    model = make_model(name, seed=seed)
    mechanism = LongMem(Backbone(model), replace(OPTIONS, **changes))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in mechanism.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(0.3 * noise * max(weight.std().item() if weight.numel() > 1 else 0, 0.1))
        mechanism.gate.copy_(torch.linspace(-0.3, 0.45, len(mechanism.gate)))
    return mechanism


def slow_states(mechanism: LongMem, ids: Tensor) -> list[Tensor]:
    """h_0 to h_L of one text [T], each [T, d]: what the stock layers take and give."""
    seen: list[Tensor] = []
    decoder: Any = mechanism.backbone.decoder
    handles = [decoder.layers[0].register_forward_pre_hook(lambda m, a: seen.append(a[0][0]))]
    for layer in decoder.layers:
        handles.append(layer.register_forward_hook(lambda m, a, out: seen.append(out[0])))
    with torch.no_grad():
        decoder(input_ids=ids[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def slow_chunks(mechanism: LongMem, texts: list[Tensor]) -> list[Chunk]:
    """Of texts taken in one after the other."""
    found: list[Chunk] = []
    layer = mechanism.backbone.layers[mechanism.banked_layer]
    size = mechanism.options.chunk_tokens
    for ids in texts:
        with torch.no_grad():
            hidden = slow_states(mechanism, ids)[mechanism.banked_layer]
            normed = layer.module.input_layernorm(hidden)  # type: ignore[operator]
            _, keys, values = slow_projections(layer.attention, normed)
        for start in range(0, len(ids) - size + 1, size):
            found.append((keys[start : start + size], values[start : start + size]))
    return found


def slow_projections(attention: Any, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [T, H, D], keys and values [T, G, D], none of them rotated."""
    if hasattr(attention, "query_key_value"):
        width = attention.head_size
        fused = attention.query_key_value(normed).view(len(normed), -1, 3 * width)
        return fused[..., :width], fused[..., width : 2 * width], fused[..., 2 * width :]
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    q, k, v = (part(normed).view(len(normed), -1, attention.head_dim) for part in parts)
    if hasattr(attention, "q_norm"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    return q, k, v


def slow_rotated(states: Tensor, share: float) -> Tensor:
    """[T, H, D] turned to positions 0, 1, ...: the first ``share`` of each head."""
    width = int(states.shape[-1] * share)
    out = states.clone()
    for place in range(len(states)):
        for one in range(width // 2):
            angle = place * 10000.0 ** (-2 * one / width)
            a, b = states[place, :, one], states[place, :, one + width // 2]
            out[place, :, one] = a * math.cos(angle) - b * math.sin(angle)
            out[place, :, one + width // 2] = b * math.cos(angle) + a * math.sin(angle)
    return out


def slow_softmax(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query [D] over keys and values [n, D]."""
    weights = torch.exp(keys @ query / math.sqrt(len(query)))
    return (weights / weights.sum()) @ values


def slow_best(query: Tensor, chunks: list[Chunk], head: int, count: int) -> list[int]:
    """Of one query [D] and a key/value head, the best chunks first."""
    scores = [(query @ keys[:, head].mean(dim=0)).item() for keys, _ in chunks]
    return sorted(range(len(chunks)), key=lambda chunk: -scores[chunk])[:count]


def slow_attention(mechanism: LongMem, attention: Any, normed: Tensor, memory: list[Chunk]) -> Any:
    """[T, H, D]: each head's attention, mixed with its memory where there is one."""
    query, keys, values = slow_projections(attention, normed)
    share = 0.5 if hasattr(attention, "query_key_value") else 1.0
    turned_query, turned_keys = slow_rotated(query, share), slow_rotated(keys, share)
    together = query.shape[1] // keys.shape[1]
    out = torch.empty_like(query)
    for token in range(len(query)):
        for head in range(query.shape[1]):
            own = head // together
            before = slice(0, token + 1)
            local = slow_softmax(
                turned_query[token, head], turned_keys[before, own], values[before, own]
            )
            if not memory:
                out[token, head] = local
                continue
            asked = query[token, head]
            best = slow_best(asked, memory, own, mechanism.options.chunks)
            found = slow_softmax(
                asked,
                torch.cat([memory[chunk][0][:, own] for chunk in best]),
                torch.cat([memory[chunk][1][:, own] for chunk in best]),
            )
            gate = torch.sigmoid(2 * mechanism.gate[head])
            out[token, head] = (1 - gate) * local + gate * found
    return out


def slow_layer(mechanism: LongMem, layer: Any, hidden: Tensor, memory: list[Chunk]) -> Tensor:
    normed = layer.input_layernorm(hidden)
    if hasattr(layer, "attention"):  # parallel: both parts read the same
        found = slow_attention(mechanism, layer.attention, normed, memory).flatten(1)
        inner = layer.mlp(layer.post_attention_layernorm(hidden))
        return hidden + layer.attention.dense(found) + inner
    found = slow_attention(mechanism, layer.self_attn, normed, memory).flatten(1)
    between = hidden + layer.self_attn.o_proj(found)
    return between + layer.mlp(layer.post_attention_layernorm(between))


def slow_read(mechanism: LongMem, memory: list[Chunk], ids: Tensor) -> Tensor:
    """[T, d] after the final norm, for one text [T] with chunks that were taken in before."""
    states, step = slow_states(mechanism, ids), mechanism.options.reduction
    decoder: Any = mechanism.side.decoder
    hidden = states[0]
    for index, layer in enumerate(decoder.layers):
        seen = memory if index == mechanism.memory_layer else []
        delta = states[step * (index + 1)] - states[step * index]
        hidden = slow_layer(mechanism, layer, hidden, seen) + delta
    norm = decoder.norm if hasattr(decoder, "norm") else decoder.final_layer_norm
    final: Tensor = norm(hidden)
    return final
