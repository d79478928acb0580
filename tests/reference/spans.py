"""A memory of spans as plain lists, and a read of it by the stock model alone; slow and readable.

Shapes: L layers, T tokens, P rows, s rows of a span, d hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from tests.fakes import slow_pass
from torch import Tensor
from transformers import PreTrainedModel

from memplus import MPlus


@dataclass(frozen=True)
class Span:
    """Rows of one write that stay together."""

    hidden: Tensor
    """[L, s, d]."""
    birth: int
    """Of its last row."""


@dataclass
class SpanMemory:
    """Spans of the pool, oldest first, and those that were dropped, in the order of dropping."""

    model: MPlus
    eager: PreTrainedModel
    """The same stock model with eager attention."""
    short: list[Span] = field(default_factory=list)
    long: list[Span] = field(default_factory=list)
    clock: int = 0

    def write(self, hidden: Tensor, drop: list[int]) -> None:
        """Take in the rows [L, r, d] of one write and drop the spans at these places."""
        size = self.model.memory_config.span_rows
        self.long += [self.short[place] for place in drop]
        self.short = [one for place, one in enumerate(self.short) if place not in drop]
        for rows in hidden.split(size, dim=1):
            self.clock += size
            self.short.append(Span(rows, self.clock))

    def bos(self) -> Tensor:
        """[L, 1, d], or no row."""
        found = self.model.weights.bos_embedding
        layers, width = len(self.model.backbone.layers), self.model.backbone.hidden_size
        return torch.zeros(layers, 0, width) if found is None else found.detach()

    def scores(self, ids: Tensor, spans: list[Span] | None = None) -> list[float]:
        """What a prompt [T] scores every dropped span with, or these spans."""
        model = self.model
        layer = model.weights.retrieving[0]
        access, retriever = model.backbone.layers[layer], model.weights.layer_retriever(layer)
        bos = self.bos()
        if layer:
            _, outputs = slow_pass(self.eager, bos, ids)
            asking = outputs[layer - 1, bos.shape[1] :]
        else:
            asking = self.eager.get_input_embeddings()(ids)
        queries = retriever.queries(access.norm(asking))
        found = []
        for span in self.long if spans is None else spans:
            keys = retriever.keys(access.norm(span.hidden[layer]))
            best = [max(float(q @ k / k.norm()) for k in keys) for q in queries]
            found.append(sum(best) / len(best))
        return found

    def chosen(self, ids: Tensor) -> list[Span]:
        """The spans that a prompt [T] reads, oldest first."""
        config = self.model.memory_config
        scores = self.scores(ids)
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        best = order[: config.retrieved_tokens // config.span_rows]
        return sorted((self.long[i] for i in best), key=lambda span: span.birth)

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """[T, V] of a prompt [T] after bos, the retrieved spans and the pool, in this order."""
        spans = [*self.chosen(ids), *self.short]
        rows = torch.cat([self.bos(), *(span.hidden for span in spans)], dim=1)
        return slow_pass(self.eager, rows, ids, bias=self.bias(ids, spans))[0]

    def bias(self, ids: Tensor, spans: list[Span]) -> Tensor | None:
        """[L, P]: each layer's weight times how far a row's span is below the best one."""
        weights = self.model.weights.span_weights
        if weights is None:
            return None
        scores = self.scores(ids, spans)
        first = self.bos().shape[1]
        size = self.model.memory_config.span_rows
        found = torch.zeros(len(weights), first + len(spans) * size)
        for layer, weight in enumerate(weights.tolist()):
            for place, score in enumerate(scores):
                start = first + place * size
                found[layer, start : start + size] = 32 * weight * (score - max(scores))
        return found
