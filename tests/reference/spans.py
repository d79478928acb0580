"""A memory of spans as plain lists, and a read of it by the stock model alone; slow and readable.

Shapes: L layers, T tokens, P rows, s rows of a span, d hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from tests.fakes import slow_pass
from tests.reference.superseding import slow_lifted, slow_replaced
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
        matches = self.matches(ids, self.long if spans is None else spans)
        return [sum(best) / len(best) for best in matches]

    def matches(self, ids: Tensor, spans: list[Span]) -> list[list[float]]:
        """How well each token of a prompt [T] matches each span at best."""
        queries = self.queries(ids)
        return [
            [max(float(q @ k / k.norm()) for k in keys) for q in queries]
            for keys in self.keys(spans)
        ]

    def sharpened(self, ids: Tensor, spans: list[Span]) -> list[float]:
        """Scores of spans by what each token matches above its average over the dropped ones."""
        matches = self.matches(ids, spans)
        stored = self.matches(ids, self.long)
        average = [sum(column) / len(stored) for column in zip(*stored, strict=True)]
        above = [[max(0.0, m - a) for m, a in zip(row, average, strict=True)] for row in matches]
        return [sum(one**1.5 for one in row) / len(row) for row in above]

    def queries(self, ids: Tensor) -> Tensor:
        """[T, R] of a prompt [T]."""
        model = self.model
        layer = model.weights.retrieving[0]
        access, retriever = model.backbone.layers[layer], model.weights.layer_retriever(layer)
        bos = self.bos()
        if layer:
            _, outputs = slow_pass(self.eager, bos, ids)
            asking = outputs[layer - 1, bos.shape[1] :]
        else:
            asking = self.eager.get_input_embeddings()(ids)
        return retriever.queries(access.norm(asking))

    def keys(self, spans: list[Span]) -> list[Tensor]:
        """[s, R] of each of these spans."""
        layer = self.model.weights.retrieving[0]
        access = self.model.backbone.layers[layer]
        retriever = self.model.weights.layer_retriever(layer)
        return [retriever.keys(access.norm(span.hidden[layer])) for span in spans]

    def standing(self, ids: Tensor, *, choosing: bool = False) -> dict[int, float]:
        """What a prompt [T] weighs, or chooses, every span by, dropped or not: by its birth."""
        spans = [*self.long, *self.short]
        scores = self.scores(ids, spans)
        by = scores
        if choosing and self.model.memory_config.sharpens_spans:
            by = self.sharpened(ids, spans)
        if choosing:  # what is in the pool is read whatever else is
            by = [math.inf if at >= len(self.long) else score for at, score in enumerate(by)]
        rule = self.model.weights.superseding
        if rule is not None:
            places = sorted(range(len(spans)), key=lambda at: -scores[at])[:4]
            compared = [spans[at] for at in places]
            births = [span.birth for span in compared]
            pairs = slow_replaced(rule.tolist(), self.queries(ids), self.keys(compared), births)
            by = slow_lifted(by, places, pairs)
        return {span.birth: score for span, score in zip(spans, by, strict=True)}

    def chosen(self, ids: Tensor) -> list[Span]:
        """The spans that a prompt [T] reads, oldest first."""
        config = self.model.memory_config
        standing = self.standing(ids, choosing=True)
        order = sorted(self.long, key=lambda span: -standing[span.birth])
        if config.retrieves_neighbours:
            order = self._with_neighbours(order, standing)
        best = order[: config.retrieved_tokens // config.span_rows]
        return sorted(best, key=lambda span: span.birth)

    def _with_neighbours(self, order: list[Span], standing: dict[int, float]) -> list[Span]:
        """Each of the spans, best first, followed by the better one of those beside it."""
        size, left, taken = self.model.memory_config.span_rows, list(order), []
        while left:
            best = left.pop(0)
            taken.append(best)
            beside = [one for one in left if abs(one.birth - best.birth) == size]
            beside = [one for one in beside if standing[one.birth] > -torch.inf]
            if beside:  # the first of them is the better one
                taken.append(beside[0])
                left = [one for one in left if one is not beside[0]]
        return taken

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """[T, V] of a prompt [T] after bos, the retrieved spans and the pool, in this order."""
        spans = [*self.chosen(ids), *self.short]
        rows = torch.cat([self.bos(), *(span.hidden for span in spans)], dim=1)
        return slow_pass(self.eager, rows, ids, bias=self.bias(ids, spans))[0]

    def bias(self, ids: Tensor, spans: list[Span]) -> Tensor | None:
        """[L, P]: each layer's weight times how far a row's span is below the best one; so little
        where a later one replaces it that nothing of it is read."""
        weights = self.model.weights
        if weights.span_weights is None and weights.superseding is None:
            return None
        layers = len(self.model.backbone.layers)
        each = [0.0] * layers if weights.span_weights is None else weights.span_weights.tolist()
        standing = self.standing(ids)
        scores = [standing[span.birth] for span in spans]
        first = self.bos().shape[1]
        size = self.model.memory_config.span_rows
        found = torch.zeros(layers, first + len(spans) * size)
        for layer, weight in enumerate(each):
            for place, score in enumerate(scores):
                start = first + place * size
                gone = score == -math.inf
                bias = -1e30 if gone else 32 * weight * (score - max(scores))
                found[layer, start : start + size] = bias
        return found
