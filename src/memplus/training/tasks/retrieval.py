"""Reading a lane memory: which stored rows a text retrieves, and what the retriever learns from it.

The rows written from the chunks that a text depends on are the right ones, wherever they are by
now: in the short-term pool or dropped into the long-term memory. A read leaves every layer's input
here; the loss is worked out from them afterwards, apart from the text's own graph.

Shapes: B documents, T tokens, n short-term rows, m stored rows, M retrieved rows, c candidate
rows, d hidden size, R retriever width.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from memplus.memory.retriever import oldest_first, retrieval_scores
from memplus.mplus.model import MPlus
from memplus.passes.projection import retrieval_keys, retrieval_queries
from memplus.training.tasks.lanes import DroppedRows, LaneMemory, no_keys
from memplus.training.tasks.losses import binary_retrieval_loss, retrieval_loss
from memplus.training.tasks.protocol import Target
from memplus.training.tasks.retriever_config import RetrieverConfig

__all__ = ["LaneReading", "dropped_rows", "retrieval_key"]


def retrieval_key(model: MPlus, layer: int, rows: Tensor) -> Tensor:
    """f_k of rows [..., d]: [..., R]."""
    return retrieval_keys(model.weights, model.backbone.layers[layer], rows)


def dropped_rows(model: MPlus, documents: int, slots: int, *, on_cpu: bool) -> DroppedRows:
    """A long-term memory of so many rows per layer, still empty, for each of B documents.

    Spans are asked for by the weights of the day at one layer, so no keys are kept of them.
    """
    config, backbone = model.memory_config, model.backbone
    spans = config.retrieves_spans
    keys_of = no_keys if spans else partial(retrieval_key, model)
    width = 0 if spans else config.retriever_dim
    shape = (documents, len(backbone.layers), backbone.hidden_size, width)
    like = torch.empty(0, dtype=backbone.dtype, device=model.device)
    return DroppedRows(slots, shape, like, keys_of, on_cpu=on_cpu)


class LaneReading:
    """One read of the whole memory of every document.

    Args:
        model: whose weights retrieve.
        memory: is read.
        target: which rows are the right ones.
        query_tokens: only so many first tokens ask.
        config: of the retriever's loss.
    """

    def __init__(
        self,
        model: MPlus,
        memory: LaneMemory,
        target: Target,
        query_tokens: int,
        config: RetrieverConfig,
    ) -> None:
        self.model = model
        self.memory = memory
        self.target = target
        self.query_tokens = query_tokens
        self.config = config
        stored = memory.long_term.filled if memory.long_term is not None else 0
        self.retrieved = min(model.memory_config.retrieved_tokens, stored)
        self.count = self.retrieved + memory.count
        """Rows of the prefix, bos not counted."""
        self.asked: dict[int, Tensor] = {}
        """Layer -> its input [B, T, d]."""
        self.chosen: dict[int, Tensor] = {}
        """Layer -> [B, M] slots of the long-term memory, in reading order."""

    def source(self, layer: int, hidden: Tensor) -> Tensor:
        """The rows [B, M + n, d] of a layer, for ``HiddenPrefix``."""
        rows = self.memory.rows(layer)
        if self.memory.long_term is None:
            return rows
        self.asked[layer] = hidden[:, : self.query_tokens]
        if not self.retrieved:
            return rows
        chosen = self.chosen[layer] = self._retrieve(layer, hidden)
        stored = self.memory.long_term.rows.vectors[:, layer]
        called = stored.gather(1, chosen[..., None].expand(-1, -1, stored.shape[2]))
        return torch.cat([called.to(rows.device, rows.dtype), rows], dim=1)

    @torch.no_grad()
    def _retrieve(self, layer: int, hidden: Tensor) -> Tensor:
        long_term = self.memory.long_term
        assert long_term is not None
        queries = self._queries(layer, hidden[:, : self.query_tokens])
        keys = long_term.keys[:, layer, : long_term.filled]
        if self.config.fresh_keys:
            rows = long_term.rows.vectors[:, layer, : long_term.filled]
            keys = retrieval_key(self.model, layer, rows.to(hidden.device))
        scores = retrieval_scores(queries, keys.to(hidden.device))
        best = scores.topk(self.retrieved, dim=1).indices.to(long_term.rows.birth.device)
        birth = long_term.rows.birth[:, layer]
        return torch.stack([oldest_first(*pair) for pair in zip(best, birth, strict=True)])

    def _queries(self, layer: int, hidden: Tensor) -> Tensor:
        return retrieval_queries(self.model.weights, self.model.backbone.layers[layer], hidden)

    def loss(self) -> Tensor:
        """Mean over layers and documents; one without right rows adds nothing."""
        return torch.stack([self._layer_loss(layer) for layer in self.asked]).mean()

    def _layer_loss(self, layer: int) -> Tensor:
        rows, right = self._candidates(layer)
        hidden = self.asked[layer]
        if self.config.detach:
            hidden, rows = hidden.detach(), rows.detach()
        keys = retrieval_key(self.model, layer, rows)
        scores = retrieval_scores(self._queries(layer, hidden), keys)
        if self.config.loss == "ranking":
            return retrieval_loss(scores, right, self.config.temperature)
        weights = (self.config.negative_weight, self.config.penalty)
        return binary_retrieval_loss(scores, right, *weights)

    def _candidates(self, layer: int) -> tuple[Tensor, Tensor]:
        """Rows [B, c, d] that the loss scores, and which are right [B, c]."""
        rows = self.memory.rows(layer)
        right = self.target.right(self.memory.write_ids()[:, layer])
        long_term = self.memory.long_term
        assert long_term is not None
        if not long_term.filled:
            return rows, right
        ids = long_term.rows.write_id[:, layer, : long_term.filled]
        stored_right = self.target.right(ids)
        count = min(self.config.scored_stored, long_term.filled)
        # Right rows first, then those that were taken for right, the hardest to tell apart, and of
        # the others some at every write: no generator has to be kept for it.
        slots = torch.arange(long_term.filled, device=ids.device)
        preference = stored_right + 0.4 * ((slots * 0.618034 + self.memory.writes * 0.414214) % 1)
        if layer in self.chosen:
            preference.scatter_add_(1, self.chosen[layer], torch.full_like(preference, 0.5))
        places = preference.topk(count, dim=1).indices
        vectors = long_term.rows.vectors[:, layer]
        taken = vectors.gather(1, places[..., None].expand(-1, -1, vectors.shape[2]))
        taken_right = stored_right.gather(1, places).to(right.device)
        rows = torch.cat([rows, taken.to(rows.device, rows.dtype)], dim=1)
        return rows, torch.cat([right, taken_right], dim=1)

    def recalls(self) -> dict[str, Tensor]:
        """By layer: share of the stored right rows that were retrieved, and that of chance.

        Averaged over the documents that have any in the long-term memory; NaN where none has.
        """
        long_term = self.memory.long_term
        found: dict[str, Tensor] = {}
        for layer, chosen in self.chosen.items():
            assert long_term is not None
            right = self.target.right(long_term.rows.write_id[:, layer, : long_term.filled])
            shares = right.gather(1, chosen).sum(dim=1) / right.sum(dim=1)
            found[f"recall.{layer}"] = shares.nanmean()
            chance = torch.full((), self.retrieved / long_term.filled, device=shares.device)
            found[f"chance.{layer}"] = chance + 0 * found[f"recall.{layer}"]
        return found
