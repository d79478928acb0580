"""MemLong as its text reads: lists of chunks, one row of a batch, every layer spelled out.

Three families of decoders, whose own modules project and normalise; attention, positions and the
memory are written down here. Also tiny decoders for the tests beside it.

Shapes: T tokens, P rows, H heads, G key/value heads, D head width, R rotated width, d hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tests.fakes import make_model
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.systems.memlong.embedders import Embedder
from memplus.systems.memlong.mechanism import MemLong
from memplus.systems.memlong.options import MemLongOptions

FAMILIES = ["llama", "qwen3", "gpt_neox"]
OPTIONS = MemLongOptions(
    memory_layer=1, retrieval_layers=(1, 3), chunk=4, top_k=2, segment=8, local=40, bank=64, rank=2,
    alpha=16, gate="none",
)  # fmt: skip


def tiny(
    name: str = "llama",
    options: MemLongOptions = OPTIONS,
    embedder: Embedder | None = None,
    *,
    seed: int = 0,
    **changes: Any,
) -> MemLong:
    """A mechanism on a random decoder; its trained parts are those that training begins with."""
    torch.manual_seed(seed)
    model = make_model(name, seed=seed, **changes)
    model.requires_grad_(requires_grad=False)
    return MemLong(Backbone(model), options, embedder)


def gated(mechanism: MemLong) -> MemLong:
    """The same with gates that differ by head and by layer, where it has any."""
    with torch.no_grad():
        for layer, weight in mechanism.gates.items():
            weight.copy_(torch.linspace(-2, 1.5, len(weight)) + 0.2 * int(layer))
    return mechanism


def trained(mechanism: MemLong, seed: int = 9) -> MemLong:
    """The same with every trained weight moved."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in mechanism.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return mechanism


def queries_keys_values(layer: Any, hidden: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """[T, H, D], [T, G, D] and [T, G, D], nothing rotated."""
    normed = layer.input_layernorm(hidden)
    if hasattr(layer, "attention"):  # GPT-NeoX
        fused = layer.attention.query_key_value(normed).view(len(hidden), -1, 3, width)
        return fused[:, :, 0], fused[:, :, 1], fused[:, :, 2]
    attention = layer.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    queries, keys, values = (one(normed).view(len(hidden), -1, width) for one in projections)
    if hasattr(attention, "q_norm"):  # Qwen3
        queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    return queries, keys, values


def rotated(states: Tensor, positions: Tensor, decoder: Any) -> Tensor:
    """[T, H, D] turned to these positions [T]."""
    cos, sin = (one[0, :, None] for one in decoder.rotary_emb(states, positions[None]))
    turned, rest = states[..., : cos.shape[-1]], states[..., cos.shape[-1] :]
    first, second = turned.chunk(2, dim=-1)
    across = torch.cat([-second, first], dim=-1)
    return torch.cat([turned * cos + across * sin, rest], dim=-1)


def attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    rows: int = 0,
    gate: Tensor | None = None,
) -> Tensor:
    """[T, H * D] of one softmax over all keys; the mask [T, keys] is true where one is seen.

    With a gate [H] there are two, one over the first ``rows`` keys and one over the others, whose
    outputs count sigmoid(gate) and 1 - sigmoid(gate).
    """
    times = queries.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(times, 1), values.repeat_interleave(times, 1)
    scores = torch.einsum("thd,shd->hts", queries, keys) * queries.shape[-1] ** -0.5
    scores = scores.masked_fill(~mask, -torch.inf)
    if gate is None:
        weights = scores.softmax(dim=-1)
    else:
        memory, text = scores[..., :rows].softmax(dim=-1), scores[..., rows:].softmax(dim=-1)
        share = (1 / (1 + (-gate).exp()))[:, None, None]
        weights = torch.cat([share * memory, (1 - share) * text], dim=-1)
    return torch.einsum("hts,shd->thd", weights, values).flatten(1)


def layer_output(layer: Any, hidden: Tensor, attended: Tensor) -> Tensor:
    """[T, d]: what a layer makes of its input and its attention's output."""
    if hasattr(layer, "attention"):
        attended = layer.attention.dense(attended)
        found: Tensor = hidden + attended + layer.mlp(layer.post_attention_layernorm(hidden))
        return found
    hidden = hidden + layer.self_attn.o_proj(attended)
    output: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return output


@dataclass(eq=False)
class SlowChunk:
    """One chunk of a bank."""

    keys: Tensor
    values: Tensor
    vector: Tensor
    start: int
    counter: int = 0


class SlowMemLong:
    """One text's memory and the decoder that reads it; positions "zero", no gate or one on outputs.

    Args:
        fast: whose decoder, sizes and gates these are; its update must be that of the beginning.
    """

    def __init__(self, fast: MemLong) -> None:
        self.decoder = fast.backbone.decoder
        self.width = fast.backbone.head_dim
        self.options, self.places = fast.options, fast.places
        self.gates = {int(layer): weight.detach() for layer, weight in fast.gates.items()}
        self.chunks: list[SlowChunk] = []
        self.before: Tensor | None = None
        self.written = 0

    def below(self, ids: Tensor) -> Tensor:
        """[T, d]: what the memory layer gets."""
        return self.run(ids, [], self.places.memory)

    def run(self, ids: Tensor, read: list[SlowChunk], layers: int) -> Tensor:
        """The first layers, with these chunks before the text in those that retrieve."""
        positions = torch.arange(len(ids)) + 1
        hidden = (
            self.decoder.embed_in(ids)
            if hasattr(self.decoder, "embed_in")
            else self.decoder.embed_tokens(ids)
        )
        causal = positions[:, None] >= positions[None, :]
        for index, layer in enumerate(self.decoder.layers[:layers]):
            queries, keys, values = queries_keys_values(layer, hidden, self.width)
            queries, keys = (rotated(one, positions, self.decoder) for one in (queries, keys))
            mask, rows, gate = causal, 0, None
            if index in self.places.retrieval and read:
                keys = torch.cat([*(one.keys for one in read), keys])
                values = torch.cat([*(one.values for one in read), values])
                rows, gate = len(keys) - len(ids), self.gates.get(index)
                mask = torch.cat([torch.ones(len(ids), rows, dtype=torch.bool), causal], dim=1)
            attended = attention(queries, keys, values, mask, rows, gate)
            hidden = layer_output(layer, hidden, attended)
        return hidden

    def best(self, query: Tensor | None) -> list[int]:
        """Chunks by the cosine of their vectors and the query, less the mean of all chunks and in
        units of their standard deviation.
        """
        if query is None or not self.chunks:
            return []
        vectors = torch.stack([one.vector for one in self.chunks])
        centre, spread = vectors.mean(dim=0), vectors.var(dim=0, correction=0).sqrt() + 1e-12
        asked = (query - centre) / spread
        cosine = [
            float(torch.cosine_similarity((one.vector - centre) / spread, asked, dim=0))
            for one in self.chunks
        ]
        order = sorted(range(len(self.chunks)), key=lambda one: -cosine[one])
        return order[: self.options.top_k]

    @torch.no_grad()
    def read(self, ids: Tensor, query: Tensor | None) -> tuple[Tensor, list[int]]:
        """[T, d] after the final norm, and the chunks read, the best first."""
        best = self.best(query)
        hidden = self.run(ids, [self.chunks[one] for one in sorted(best)], len(self.decoder.layers))
        norm = getattr(self.decoder, "norm", None) or self.decoder.final_layer_norm
        return norm(hidden), best

    @torch.no_grad()
    def query(self, ids: Tensor) -> Tensor:
        """[d]: the mean over a text, without its first token."""
        return self.below(ids)[1:].mean(dim=0)

    @torch.no_grad()
    def write(self, ids: Tensor) -> None:
        """Take a segment in; what it would have retrieved is counted."""
        for one in self.best(self.before):
            self.chunks[one].counter += 1
        hidden = self.below(ids)
        self.make_room(len(ids))
        _, keys, values = queries_keys_values(
            self.decoder.layers[self.places.memory], hidden, self.width
        )
        for at in range(0, len(ids), self.options.chunk):
            part = slice(at, min(at + self.options.chunk, len(ids)))
            counted = hidden[part][1:] if at == 0 and len(hidden[part]) > 1 else hidden[part]
            vector, start = counted.mean(dim=0), self.written + at
            self.chunks.append(SlowChunk(keys[part], values[part], vector, start))
        self.before = hidden[1:].mean(dim=0) if len(hidden) > 1 else hidden[0]
        self.written += len(ids)

    def make_room(self, coming: int) -> None:
        """The oldest tenth goes, then the least retrieved but for the newest tenth."""

        def tokens() -> int:
            return sum(len(one.keys) for one in self.chunks)

        if tokens() + coming <= self.options.bank:
            return
        count = len(self.chunks)
        newest = self.chunks[count - -(-count // 10) :]
        self.chunks = self.chunks[count // 10 :]
        middle = [one for one in self.chunks if one not in newest]
        for one in sorted(middle, key=lambda one: one.counter):
            if tokens() > self.options.bank // 2:
                self.chunks.remove(one)
