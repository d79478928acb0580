"""The prefix of many questions to shared pools: rows projected once, gathered where needed.

A step's questions read the rows that the step itself wrote. Each group of questions has its own
short-term pool; what it has dropped, and the rows of all other groups, are its long-term store,
from which every question retrieves for itself. Gradients flow into every row that is read.

Shapes: L layers, R rows, d hidden size, G groups, q questions of a group, Q = G * q, n short-term
rows, M retrieved rows, t tokens of a question row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from memplus.backbone.access import Layer
from memplus.backbone.attention import Segment
from memplus.backbone.rope import rotate
from memplus.model import MPlus
from memplus.passes.read import Prefix

__all__ = ["PoolPrefix", "Retrieval"]


@dataclass
class Retrieval:
    """What the questions of one read retrieve, and what is learned from it."""

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
    found: list[float] = field(default_factory=list)
    """Per layer: share of questions that retrieved a right row by score alone."""


class PoolPrefix(Prefix):
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
        self.model = model
        self.pool = rows
        self.short_term = short_term
        self.retrieval = retrieval
        self.retrieved = retrieval.count if retrieval is not None else 0
        self._groups: dict[int, list[tuple[slice, list[Segment]]]] = {}

    def shift(self, device: torch.device) -> Tensor:
        """[1]: bos, retrieved and short-term rows."""
        return torch.tensor([1 + self.retrieved + self.short_term.shape[2]], device=device)

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
        pool_keys = rotate(_gather(keys, kept), places).transpose(1, 2)
        pool_values = _gather(values, kept).transpose(1, 2)
        bos = self._bos(access)
        each = hidden.shape[0] // groups
        self._groups[layer] = []
        for group in range(groups):
            span = slice(group * each, (group + 1) * each)
            segments = [bos]
            if chosen is not None:
                places = (angles[0][1:start], angles[1][1:start])
                called = rotate(_gather(keys, chosen[span]), places).transpose(1, 2)
                segments.append((called, _gather(values, chosen[span]).transpose(1, 2)))
            segments.append((pool_keys[group][None], pool_values[group][None]))
            self._groups[layer].append((span, segments))

    def groups(self, layer: int) -> list[tuple[slice, list[Segment]]]:
        """Each group of questions with its segments."""
        return self._groups[layer]

    def _bos(self, access: Layer) -> Segment:
        bos = self.model.weights.bos_embedding
        assert bos is not None, "a recipe without bos cannot be trained"
        keys, values = access.project(bos[access.index][None])
        return keys.transpose(1, 2), values.transpose(1, 2)

    def _retrieve(self, access: Layer, hidden: Tensor) -> Tensor | None:
        """[Q, M] indices, oldest first; the scores to learn from are left in ``retrieval``."""
        wanted = self.retrieval
        if wanted is None:
            return None
        projection = self.model.weights.layer_retriever(access.index)
        keys = projection.key_proj(access.norm(self.pool[access.index]))
        queries = projection.query_proj(access.norm(hidden))
        if len(wanted.learned):
            prompt = wanted.prompt[wanted.learned]
            wanted.scores.append(_scores(queries[wanted.learned], keys, prompt))
        if not wanted.count:
            return None
        with torch.no_grad():
            scores = _scores(queries, keys, wanted.prompt)
            each = hidden.shape[0] // self.short_term.shape[1]
            kept = self.short_term[access.index].repeat_interleave(each, dim=0)
            scores.scatter_(1, kept, -1.0)
            best = scores.topk(wanted.count, dim=1).indices
            asked = wanted.told.any(dim=1)
            hit = wanted.told.gather(1, best).any(dim=1)[asked]
            wanted.found.append(float(hit.float().mean()) if len(hit) else 0.0)
            scores += 2.0 * (wanted.told & wanted.forced[:, None] & (scores >= 0))
            return scores.topk(wanted.count, dim=1).indices.sort(dim=1).values


def _scores(queries: Tensor, keys: Tensor, prompt: Tensor) -> Tensor:
    """[Q, R]: mean over each question's prompt tokens of sigmoid(f_q . f_k), M+ section 3.3."""
    share = prompt / prompt.sum(dim=1, keepdim=True)
    matches = torch.sigmoid(queries @ keys.transpose(0, 1))
    mean: Tensor = torch.bmm(share[:, None].to(matches.dtype), matches)[:, 0]
    return mean.float()


def _gather(rows: Tensor, indices: Tensor) -> Tensor:
    """Rows [R, H, D] by indices [B, n] -> [B, n, H, D]."""
    return rows.index_select(0, indices.reshape(-1)).view(*indices.shape, *rows.shape[1:])
