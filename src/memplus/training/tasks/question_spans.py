"""Which spans of the documents' memories questions retrieve, and what the retriever learns from it.

A document's spans, those of its short-term pool and those dropped, compete for each of its
questions; the right ones are those whose rows can hold the answer. Retrieval takes from the
dropped ones alone: a read sees the pool anyway.

Shapes: B documents, q questions of a document, Q = B * q, p tokens of the longest prompt, n
short-term rows, S dropped rows, s rows of a span, m spans that a question retrieves, d hidden size,
R retriever width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.config import SpanRetrieval
from memplus.memory.retriever import (
    directions,
    mean_match,
    sharpened,
    span_matches,
    with_neighbours,
)
from memplus.mplus.model import MPlus
from memplus.passes.projection import retrieval_keys, retrieval_queries
from memplus.passes.span_queries import layer_input
from memplus.training.tasks.asked import Asked
from memplus.training.tasks.grouped_read import prompt_tokens
from memplus.training.tasks.lanes import LaneMemory
from memplus.training.tasks.retriever_config import RetrieverConfig

__all__ = ["Found", "find_spans", "right_rows"]


@dataclass(frozen=True)
class Found:
    """What questions retrieve."""

    spans: Tensor
    """[Q, m] indices of dropped spans, oldest first."""
    scores: Tensor
    """[Q, m + n / s] of these spans and those of the pool, in reading order, with their graph."""
    loss: Tensor
    """[B] how far right spans stand above the others; 0 where no question has any."""
    recall: Tensor
    """[] share of the questions with a right span among the dropped ones that found one by its
    score; NaN where there is none."""
    seen: Tensor
    """[Q] true where a right span is read: retrieved, or still in the pool."""


def right_rows(births: Tensor, asked: Asked, clock: int) -> Tensor:
    """[Q, n] true at rows that can hold a question's answer.

    Args:
        births: [B, n] clock at which the rows of each document were made.
        asked: the questions.
        clock: before the pass wrote its first row.
    """
    each = len(asked.rows) // len(births)
    own = births.repeat_interleave(each, dim=0)
    first, last = (asked.rows + clock + 1).unbind(dim=1)
    return (own >= first[:, None]) & (own <= last[:, None])


def find_spans(
    model: MPlus,
    memory: LaneMemory,
    asked: Asked,
    clock: int,
    config: RetrieverConfig,
    forced: Tensor,
) -> Found:
    """What each question retrieves from what its document's memory has dropped.

    Args:
        model: whose weights retrieve.
        memory: of the documents.
        asked: the questions.
        clock: before the pass wrote its first row.
        config: of the retriever's loss.
        forced: [Q] true where the right spans are retrieved whatever their scores.
    """
    way = model.memory_config.retrieval
    dropped = memory.long_term
    assert isinstance(way, SpanRetrieval)
    assert dropped is not None
    batch, held = len(memory.detached.birth), dropped.held
    keys = _keys(model, memory, way.layer)
    queries, share = _queries(model, asked, way.layer)
    groups = (batch, len(queries) // batch)
    with torch.autocast(keys.device.type, enabled=False):  # hundreds of spans are told apart
        matches = span_matches(
            queries.unflatten(0, groups), directions(keys[:, None]), way.span_rows
        ).flatten(0, 1)
        scores = mean_match(matches, share)
    births = torch.cat([held.birth[:, 0], memory.births()[:, 0].to(held.birth.device)], dim=1)
    right = right_rows(births.to(scores.device), asked, clock)
    right = right.unflatten(1, (-1, way.span_rows)).any(dim=2)
    losses = _losses(scores / config.temperature, right).view(groups)
    with torch.no_grad():
        old = held.birth.shape[2] // way.span_rows
        count = min(model.memory_config.retrieved_tokens // way.span_rows, old)
        born = held.birth[:, 0, :: way.span_rows].to(scores.device)
        born = born.repeat_interleave(groups[1], dim=0)
        ranked = sharpened(matches, old, share) if way.sharpens else scores
        best = _best(ranked[:, :old], born, way, count)
        there = right[:, :old]
        asking = there.any(dim=1)
        recall = there.gather(1, best).any(dim=1)[asking].float().mean()
        lifted = ranked[:, :old] + 1e4 * (there & forced[:, None])
        best = _best(lifted, born, way, count)
        order = born.gather(1, best).argsort(dim=1)
        chosen = best.gather(1, order)
        seen = there.gather(1, chosen).any(dim=1) | right[:, old:].any(dim=1)
    asked_for = right.any(dim=1).view(groups).sum(dim=1).clamp(min=1)
    read = torch.cat([scores.gather(1, chosen), scores[:, old:]], dim=1)
    return Found(chosen, read, losses.sum(dim=1) / asked_for, recall, seen)


def _best(scores: Tensor, births: Tensor, way: SpanRetrieval, count: int) -> Tensor:
    """[Q, count]: what each question retrieves of spans [Q, S], made at ``births``."""
    if not way.neighbours:
        return scores.topk(count, dim=1).indices
    pairs = zip(scores, births, strict=True)
    return torch.stack([with_neighbours(*pair, way.span_rows, count) for pair in pairs])


def _losses(scores: Tensor, right: Tensor) -> Tensor:
    """[Q] -log of the share that right spans have; 0 where there is none."""
    asked = right.any(dim=1)
    mine = scores.masked_fill(~right, -1e4).logsumexp(dim=1)
    return torch.where(asked, scores.logsumexp(dim=1) - mine, torch.zeros_like(mine))


def _keys(model: MPlus, memory: LaneMemory, layer: int) -> Tensor:
    """[B, S + n, R] of dropped rows and the pool, by the weights of this step."""
    dropped = memory.long_term
    assert dropped is not None
    pool = memory.rows(layer).detach()
    rows = torch.cat([dropped.held.vectors[:, layer].to(pool), pool], dim=1)
    return retrieval_keys(model.weights, model.backbone.layers[layer], rows)


def _queries(model: MPlus, asked: Asked, layer: int) -> tuple[Tensor, Tensor]:
    """[Q, p, R] of the prompts, and what each token counts [Q, p]."""
    places, share = prompt_tokens(asked.prompt)
    with torch.no_grad():
        own = asked.ids.gather(1, places)
        hidden = layer_input(model.backbone, model.weights, own, layer)
    queries = retrieval_queries(model.weights, model.backbone.layers[layer], hidden)
    return queries, share
