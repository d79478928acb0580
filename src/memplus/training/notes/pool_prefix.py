"""The prefix of many questions to shared pools: rows projected once, gathered where needed.

A step's questions read the rows that the step itself wrote. Each group of questions has its own
short-term pool; what it has dropped, and the rows of all other groups, are its long-term memory,
from which every question retrieves for itself. Gradients flow into every row that is read.

Shapes: L layers, R rows, d hidden size, G groups, q questions of a group, Q = G * q, n short-term
rows, M retrieved rows, t tokens of a question row, H heads, K key/value heads, r = H / K, D head
width, p tokens of the longest prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from memplus.backbone.access import Layer
from memplus.backbone.attention import Segment
from memplus.backbone.rope import rotate
from memplus.memory.retriever import retrieval_scores
from memplus.mplus.model import MPlus
from memplus.passes.projection import retrieval_keys, retrieval_queries
from memplus.training.tasks.grouped_read import (
    GroupedPrefix,
    GroupedRows,
    gather_rows,
    prompt_tokens,
)

__all__ = ["PoolPrefix", "Retrieval"]


@dataclass
class Retrieval:
    """What the questions of one read retrieve, and what is learned from it.

    Made on the CPU, where shapes that depend on values cost nothing, and then moved.
    """

    count: int
    """M; 0 retrieves nothing, but scores may still be learned."""
    prompt: Tensor
    """[Q, t] true at prompt tokens."""
    told: Tensor
    """[Q, R] true at rows that can hold the answer."""
    forced: Tensor
    """[Q] true where these rows are retrieved whatever their scores."""
    learned: Tensor
    """[s] indices of the questions whose scores keep their graph."""
    scores: list[Tensor] = field(default_factory=list)
    """Per layer [s, R]: filled by the read."""

    def __post_init__(self) -> None:
        self._places, self.share = prompt_tokens(self.prompt)
        """[Q, p] what each prompt token counts; 0 at padding."""

    def to(self, device: torch.device) -> Self:
        """Move what the read needs to the model's device, in place."""
        for name in ("told", "forced", "learned", "_places", "share"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def asking(self, hidden: Tensor) -> Tensor:
        """[Q, t, d] -> [Q, p, d]: the prompts' tokens."""
        return hidden.gather(1, self._places[:, :, None].expand(-1, -1, hidden.shape[2]))


class PoolPrefix(GroupedPrefix):
    """Rows [L][R, d] as the prefix of a batch of questions.

    Args:
        model: whose weights project and retrieve.
        rows: per layer [R, d], oldest first.
        short_term: [L, G, n] indices of each group's pool, rising.
        retrieval: None reads the pools alone.
    """

    def __init__(
        self,
        model: MPlus,
        rows: list[Tensor],
        short_term: Tensor,
        retrieval: Retrieval | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.pool = rows
        self.short_term = short_term
        self.retrieval = retrieval
        self.retrieved = retrieval.count if retrieval is not None else 0

    def shift(self, device: torch.device) -> Tensor:
        """[1]: bos, retrieved and short-term rows."""
        return torch.full((1,), 1 + self.retrieved + self.short_term.shape[2], device=device)

    def prepare(self, layer: int, hidden: Tensor, length: int) -> None:
        """Retrieve and gather this layer's rows."""
        access = self.model.backbone.layers[layer]
        chosen = self._retrieve(access, hidden)
        keys, values = access.project(self.pool[layer])
        groups, count = self.short_term.shape[1:]
        kept = self.short_term[layer]
        angles = self.model.backbone.angles(access, 1 + self.retrieved + count, hidden)
        start = 1 + self.retrieved
        places = (angles[0][start:], angles[1][start:])
        pool_keys = rotate(gather_rows(keys, kept), places).transpose(1, 2)
        pool_values = gather_rows(values, kept).transpose(1, 2)
        own = None
        if chosen is not None:
            places = (angles[0][1:start], angles[1][1:start])
            called = rotate(gather_rows(keys, chosen), places).transpose(1, 2)
            own = Segment(called, gather_rows(values, chosen).transpose(1, 2))
        first = [part.expand(groups, -1, -1, -1) for part in self._bos(access)[:2]]
        shared = Segment(
            torch.cat([first[0], pool_keys], dim=2),
            torch.cat([first[1], pool_values], dim=2),
        )
        self.layers[layer] = GroupedRows(shared, own)

    def _bos(self, access: Layer) -> Segment:
        bos = self.model.weights.bos_embedding
        assert bos is not None, "a recipe without bos cannot be trained"
        keys, values = access.project(bos[access.index][None])
        return Segment(keys.transpose(1, 2), values.transpose(1, 2))

    def _retrieve(self, access: Layer, hidden: Tensor) -> Tensor | None:
        """[Q, M] indices, oldest first; the scores to learn from are left in ``retrieval``."""
        wanted = self.retrieval
        if wanted is None:
            return None
        weights = self.model.weights
        keys = retrieval_keys(weights, access, self.pool[access.index])
        queries = retrieval_queries(weights, access, wanted.asking(hidden))
        if len(wanted.learned):
            share = wanted.share[wanted.learned]
            wanted.scores.append(retrieval_scores(queries[wanted.learned], keys, share))
        if not wanted.count:
            return None
        with torch.no_grad():
            scores = retrieval_scores(queries, keys, wanted.share)
            each = hidden.shape[0] // self.short_term.shape[1]
            kept = self.short_term[access.index].repeat_interleave(each, dim=0)
            scores.scatter_(1, kept, -1.0)
            scores += 2.0 * (wanted.told & wanted.forced[:, None] & (scores >= 0))
            return scores.topk(wanted.count, dim=1).indices.sort(dim=1).values
