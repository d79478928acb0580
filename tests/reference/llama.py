"""A Llama decoder over a state dict: one layer at a time, one attention head at a time.

Shapes: n rows of a sequence, q of them queries, d hidden size, D head width, H heads,
G key/value heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from tests.reference.config import ReferenceConfig
from torch import Tensor
from torch.nn.functional import silu

KeysValues = tuple[Tensor, Tensor]


def frequencies(config: ReferenceConfig) -> Tensor:
    """[D / 2] radians per position, with the config's scaling."""
    exponents = torch.arange(0, config.head_dim, 2).float() / config.head_dim
    plain = torch.tensor(config.rope_theta).pow(-exponents)
    scaling = config.rope_scaling
    if scaling is None:
        return plain
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "default":
        return plain
    if kind == "linear":
        return plain / float(scaling["factor"])
    if kind != "llama3":
        raise ValueError(f"no such rope scaling: {kind}")
    original = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    scaled = []
    for frequency in plain.tolist():
        turns = original * frequency / (2 * math.pi)
        if turns < low:
            scaled.append(frequency / scaling["factor"])
        elif turns > high:
            scaled.append(frequency)
        else:
            share = (turns - low) / (high - low)
            scaled.append((1 - share) * frequency / scaling["factor"] + share * frequency)
    return torch.tensor(scaled)


def rotate(rows: Tensor, first_position: int, frequency: Tensor) -> Tensor:
    """Turn rows [n, heads, D] to positions first_position, first_position + 1, ..."""
    positions = torch.arange(first_position, first_position + rows.shape[0]).float()
    angle = (positions[:, None] * frequency[None, :]).to(rows.dtype)[:, None, :]
    left, right = rows.chunk(2, dim=-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)


class Decoder:
    """Weights in the published layout and what a layer computes with them."""

    def __init__(self, config: ReferenceConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        self.tensors = tensors
        self.frequency = frequencies(config)

    def embed(self, ids: Tensor) -> Tensor:
        """[T] -> [T, d]."""
        return self.tensors["model.embed_tokens.weight"][ids.long()]

    def logits(self, hidden: Tensor) -> Tensor:
        """Final norm and head: [T, d] -> [T, V]."""
        head = self.tensors.get("lm_head.weight", self.tensors["model.embed_tokens.weight"])
        return self.rms(hidden, "model.norm.weight") @ head.T

    def rms(self, rows: Tensor, name: str) -> Tensor:
        """Root-mean-square norm with the weight of that name."""
        mean_square = rows.pow(2).mean(dim=-1, keepdim=True)
        return self.tensors[name] * (rows * torch.rsqrt(mean_square + self.config.eps))

    def input_norm(self, layer: int, rows: Tensor) -> Tensor:
        """The norm that a layer puts before its projections, memory rows included."""
        return self.rms(rows, f"model.layers.{layer}.input_layernorm.weight")

    def linear(self, name: str, rows: Tensor, adapter: str | None) -> Tensor:
        """One projection, with the adapter's low-rank part where the layer has one."""
        weight = self.tensors.get(f"{name}.base_layer.weight")
        if weight is None:
            return rows @ self.tensors[f"{name}.weight"].T
        assert self.config.lora_scale is not None
        down = self.tensors[f"{name}.lora_A.{adapter}.weight"]
        up = self.tensors[f"{name}.lora_B.{adapter}.weight"]
        return rows @ weight.T + self.config.lora_scale * (rows @ down.T @ up.T)

    def unrotated(self, layer: int, rows: Tensor, adapter: str | None) -> KeysValues:
        """Keys before rotation and values [n, G, D] of a layer's input rows [n, d]."""
        name = f"model.layers.{layer}.self_attn"
        shape = (rows.shape[0], self.config.kv_heads, self.config.head_dim)
        normed = self.input_norm(layer, rows)
        keys = self.linear(f"{name}.k_proj", normed, adapter).view(shape)
        values = self.linear(f"{name}.v_proj", normed, adapter).view(shape)
        return keys, values

    def keys_values(
        self, layer: int, rows: Tensor, first_position: int, adapter: str | None
    ) -> KeysValues:
        """Rotated keys and values [n, G, D] of rows [n, d] at consecutive positions."""
        keys, values = self.unrotated(layer, rows, adapter)
        return rotate(keys, first_position, self.frequency), values

    def attention(self, layer: int, rows: Tensor, seen: KeysValues, adapter: str | None) -> Tensor:
        """Attention of the last q rows of a sequence over all of its n rows, causal.

        Args:
            layer: which layer.
            rows: [q, d] inputs of the queries, before the norm.
            seen: keys and values of the whole sequence [n, G, D], the queries' own included.
            adapter: the active adapter.
        """
        config = self.config
        name = f"model.layers.{layer}.self_attn"
        keys, values = seen
        n, q = keys.shape[0], rows.shape[0]
        normed = self.input_norm(layer, rows)
        queries = self.linear(f"{name}.q_proj", normed, adapter)
        queries = rotate(queries.view(q, config.heads, config.head_dim), n - q, self.frequency)
        position_of_query = torch.arange(n - q, n)[:, None]
        hidden_from_query = torch.arange(n)[None, :] > position_of_query
        mixed = []
        for head in range(config.heads):
            of = head // (config.heads // config.kv_heads)
            scores = queries[:, head] @ keys[:, of].T / math.sqrt(config.head_dim)
            weights = scores.masked_fill(hidden_from_query, -math.inf).softmax(dim=-1)
            mixed.append(weights @ values[:, of])
        return self.linear(f"{name}.o_proj", torch.cat(mixed, dim=-1), adapter)

    def layer(self, layer: int, rows: Tensor, seen: KeysValues, adapter: str | None) -> Tensor:
        """A layer's output [q, d] for the queries ``rows`` [q, d]; arguments as ``attention``."""
        hidden = rows + self.attention(layer, rows, seen, adapter)
        name = f"model.layers.{layer}"
        normed = self.rms(hidden, f"{name}.post_attention_layernorm.weight")
        gate = silu(self.linear(f"{name}.mlp.gate_proj", normed, adapter))
        wide = gate * self.linear(f"{name}.mlp.up_proj", normed, adapter)
        return hidden + self.linear(f"{name}.mlp.down_proj", wide, adapter)
