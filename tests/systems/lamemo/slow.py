"""LaMemo, slowly: one text, one position and one head after another, no hooks, no caches.

Shapes: d hidden size, H heads, D head width, G key/value heads, m remembered positions, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from tests.fakes import make_model, some_ids
from torch import Tensor
from torch.nn import functional

from memplus.backbone.access import Backbone
from memplus.backbone.lora import under
from memplus.systems.lamemo.mechanism import LaMemo
from memplus.systems.lamemo.options import LaMemoOptions

FAMILIES = ["llama", "qwen3", "gpt_neox", "gpt_neox-sequential"]


def made(
    name: str = "llama",
    *,
    dtype: torch.dtype = torch.float32,
    random: bool = True,
    **options: Any,
) -> LaMemo:
    """A mechanism on a tiny decoder; its trained parts are drawn, or as they begin."""
    sizes = {"segment": 5, "memory": 8, "rank": 2, "alpha": 4} | options
    backbone = Backbone(make_model(name, dtype=dtype), adapted=False)
    mechanism = LaMemo(backbone, LaMemoOptions(**sizes))
    generator = torch.Generator().manual_seed(0)
    if random:
        with torch.no_grad():
            for weight in mechanism.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.15)
    return mechanism


@dataclass
class Kept:
    """What is remembered of one text."""

    embeddings: list[Tensor] = field(default_factory=list)
    """[d] each."""
    context: list[list[Tensor]] = field(default_factory=list)
    """By layer and position, [H, D]."""
    logs: list[list[Tensor]] = field(default_factory=list)
    """By layer and position, [H]."""
    last: int = 0


class Slow:
    """The same decoder and trained parts, computed from the paper's words.

    Args:
        mechanism: whose weights and options it takes.
    """

    def __init__(self, mechanism: LaMemo) -> None:
        self.mechanism = mechanism
        self.options = mechanism.options
        self.backbone = mechanism.backbone
        self.decoder = self.backbone.decoder
        lora = mechanism.lora
        self.added = {
            name: up @ down * lora.scale
            for name, down, up in zip(lora.names, lora.down, lora.up, strict=True)
        }
        self.neox = self.backbone.config.model_type == "gpt_neox"

    def empty(self) -> Kept:
        return Kept([], [[] for _ in self.backbone.layers], [[] for _ in self.backbone.layers])

    def read(self, kept: Kept, ids: Tensor, offset: float = 0.0) -> tuple[Tensor, Kept]:
        """One segment [T]: hidden [T, d], and what is kept of it."""
        embedded = self.backbone.embedding(ids)
        rows = [*kept.embeddings, *embedded]
        count, together = len(kept.embeddings), torch.stack(rows)
        hidden, context, logs = together, [], []
        for index in range(len(self.backbone.layers)):
            before = (kept.context[index], kept.logs[index])
            heads, known = self._attended(index, hidden, before, (count, kept.last, offset))
            hidden = self._after_attention(index, hidden, heads)
            if self.options.lookahead == "off":
                hidden = torch.cat([hidden[:count].detach(), hidden[count:]])
            context.append([one.detach() for one in heads][-self.options.memory :])
            logs.append([one.detach() for one in known][-self.options.memory :])
        norm = self.decoder.final_layer_norm if self.neox else self.decoder.norm
        newest = [one.detach() for one in rows][-self.options.memory :]
        return norm(hidden[count:]), Kept(newest, context, logs, len(ids))

    def texts(self, ids: Tensor) -> Iterator[tuple[Tensor, Kept]]:
        """Segments of a text in turn."""
        kept = self.empty()
        for piece in ids.split(self.options.segment):
            hidden, kept = self.read(kept, piece)
            yield hidden, kept

    def _attended(
        self,
        index: int,
        hidden: Tensor,
        before: tuple[list[Tensor], list[Tensor]],
        where: tuple[int, int, float],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Context [H, D] and logarithm of the denominator [H] of every position."""
        count, last, offset = where
        query, key, value = self._projected(index, hidden)
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        context, logs = list(before[0]), list(before[1])
        for place in range(count, len(hidden)):
            seen = range(place + 1)
            found = [self._score(query[place], place, key[j], j) for j in seen]
            out, log = softmax(found, [value[j] for j in seen])
            context.append(out)
            logs.append(log)
        if self.options.lookahead != "off":
            for place in range(count):
                seen = range(max(place + 1, count - last + 1), count + 1)
                found = [self._ahead(index, query[place], place, key[j], j) for j in seen]
                out, log = softmax(found, [value[j] for j in seen])
                old, new = logs[place].exp(), (log + offset).exp()
                alpha = old / (old + new + self.options.epsilon)
                context[place] = alpha[:, None] * context[place] + (1 - alpha)[:, None] * out
                logs[place] = (old + new).log()
        return context, logs

    def _score(self, query: Tensor, i: int, key: Tensor, j: int) -> Tensor:
        """[H]."""
        scaled = self.turned(query, i) * self.turned(key, j)
        return scaled.sum(-1) / query.shape[-1] ** 0.5

    def _ahead(self, index: int, query: Tensor, p: int, key: Tensor, j: int) -> Tensor:
        if self.options.lookahead == "signed":
            return self._score(query, p, key, j)
        assert self.mechanism.direction is not None
        return self._score(query + self.mechanism.direction[index], -p, key, -j)

    def turned(self, states: Tensor, place: int) -> Tensor:
        """[H, D] rotated to a position, which may be below 0."""
        cos, sin = (one[0, 0] for one in self.decoder.rotary_emb(states, torch.tensor([[place]])))
        half = len(cos) // 2
        cos, sin = cos[:half], sin[:half]
        first, second, rest = states[:, :half], states[:, half : 2 * half], states[:, 2 * half :]
        return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=1)

    def _linear(self, index: int, name: str, states: Tensor) -> Tensor:
        module = self.backbone.layers[index].attention.get_submodule(name)
        ours = f"layers.{index}.{'attention' if self.neox else 'self_attn'}.{name}"
        return functional.linear(states, module.weight + self.added[ours], module.bias)

    def _projected(self, index: int, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[P, H, D] and twice [P, G, D], not rotated."""
        layer = self.backbone.layers[index]
        attention, normed, width = layer.attention, layer.norm(hidden), layer.head_dim
        if self.neox:
            fused = self._linear(index, "query_key_value", normed).unflatten(-1, (-1, 3 * width))
            return fused[..., :width], fused[..., width : 2 * width], fused[..., 2 * width :]
        found = [
            self._linear(index, name, normed).unflatten(-1, (-1, width))
            for name in ("q_proj", "k_proj", "v_proj")
        ]
        if hasattr(attention, "q_norm"):
            found[:2] = [attention.q_norm(found[0]), attention.k_norm(found[1])]
        return found[0], found[1], found[2]

    def _after_attention(self, index: int, hidden: Tensor, heads: list[Tensor]) -> Tensor:
        """Output projection, residual, norm and MLP of the family."""
        layer: Any = self.backbone.layers[index].module
        name = "dense" if self.neox else "o_proj"
        out = self._linear(index, name, torch.stack(heads).flatten(1))
        if self.neox and layer.use_parallel_residual:
            return hidden + out + layer.mlp(layer.post_attention_layernorm(hidden))
        after = hidden + out
        return after + layer.mlp(layer.post_attention_layernorm(after))


def transformer_xl(mechanism: LaMemo, ids: Tensor) -> Tensor:
    """[B, T] -> [B, T, d]: the stock layers over segments, each behind the last M states that went
    into it before, as they were then. Nothing else is kept, no contexts and no denominators.
    """
    backbone, options = mechanism.backbone, mechanism.options
    decoder: Any = backbone.decoder
    memory = [backbone.embedding(ids[:, :0]) for _ in backbone.layers]
    parts = []
    with under(backbone, mechanism.lora):
        for piece in ids.split(options.segment, dim=1):
            hidden, count = backbone.embedding(piece), memory[0].shape[1]
            place = torch.arange(count + piece.shape[1])
            seen = place[None, :] <= place[:, None]
            mask = hidden.new_zeros(seen.shape).masked_fill(~seen, torch.finfo(hidden.dtype).min)
            given = {
                "attention_mask": mask[None, None],
                "position_ids": place[None],
                "position_embeddings": decoder.rotary_emb(hidden, place[None]),
            }
            for index, layer in enumerate(backbone.layers):
                whole = torch.cat([memory[index], hidden], dim=1)
                memory[index] = whole[:, -options.memory :]
                output = layer.module(whole, **given)
                hidden = (output[0] if isinstance(output, tuple) else output)[:, count:]
            norm = getattr(decoder, "norm", None) or decoder.final_layer_norm
            parts.append(norm(hidden))
    return torch.cat(parts, dim=1)


def softmax(scores: list[Tensor], values: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Of one position: scores [H] and values [H, D] of each key -> [H, D], [H]."""
    weights = torch.stack([one.exp() for one in scores])
    total = weights.sum(dim=0)
    mixed = (weights[..., None] * torch.stack(values)).sum(dim=0)
    return mixed / total[:, None], total.log()


def text(tokens: int, rows: int = 1, seed: int = 0) -> Tensor:
    """[rows, tokens] random ids."""
    return some_ids(rows, tokens, seed=seed)
