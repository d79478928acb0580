"""Which spans a read of a memory takes, and how much each of them counts, before any is read.

Shapes: T prompt tokens, R retriever width, n stored rows, m retrieved rows, p short-term rows,
s rows of a span, S = (n + p) / s spans, C of them that are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from memplus.memory.long_term import LongTermPool
from memplus.memory.retriever import (
    MemoryWeights,
    behind_best,
    directions,
    sharpened,
    span_matches,
)
from memplus.memory.short_term import ShortTermPool
from memplus.memory.state import Memory
from memplus.memory.superseding import COMPARED, lifted, replaced

__all__ = ["Compared", "SpanChoice", "SpansBefore", "choose_spans"]

_UNREAD = -1e4
"""Added to the scores of attention: nothing is left of a row, in any dtype."""


@dataclass(frozen=True)
class SpanChoice:
    """What one prompt reads of a memory of spans."""

    rows: Tensor
    """[m] indices into the long-term rows, span after span, the oldest first."""
    scores: Tensor
    """[n] of all long-term rows; minus infinity of those that a later span replaces."""
    behind: Tensor | None = None
    """[m + p] how far a row's span lies below the best one, retrieved rows and then the pool's by
    slot; None where scores do not weigh."""
    unread: Tensor | None = None
    """[m + p] what is added to attention to rows that a later span replaces, 0 to all others;
    None where none ever is replaced."""


@dataclass(frozen=True)
class Compared:
    """The spans of a memory that suit a question best."""

    places: Tensor
    """[C] among the long-term spans and, after these, the pool's by slot; best first."""
    unit: Tensor
    """[C, s, R] directions of their keys."""
    births: Tensor
    """[C] of their last rows."""


def choose_spans(
    weights: MemoryWeights, memory: Memory, prompts: Sequence[Tensor]
) -> list[SpanChoice]:
    """What each of several prompts reads.

    Args:
        weights: of the retriever.
        memory: whose config retrieves spans.
        prompts: [T, R] f_q of each prompt's tokens (``passes.span_queries``).
    """
    stored = memory.long_term
    if stored is None:  # nothing was dropped yet: all that is there is read, and counts alike
        nothing = torch.zeros(0, dtype=torch.int64, device=prompts[0].device)
        return [SpanChoice(nothing, nothing.float())] * len(prompts)
    before = SpansBefore(memory, stored)
    return [
        _choice(weights, before, queries, matches)
        for queries, matches in zip(prompts, stored.span_matches(prompts), strict=True)
    ]


class SpansBefore:
    """All spans that a read has before it: a memory's long-term ones, and its pool's.

    Args:
        memory: whose config retrieves spans.
        stored: its long-term part.
    """

    def __init__(self, memory: Memory, stored: LongTermPool) -> None:
        self.stored = stored
        self.neighbours = memory.config.retrieves_neighbours
        self.sharpens = memory.config.sharpens_spans
        self.pool: ShortTermPool | None = None
        if memory.pool is not None and memory.pool.count:
            self.pool = memory.pool

    @cached_property
    def _own(self) -> Tensor:
        """[p, R] directions of the pool's keys."""
        assert self.pool is not None
        return directions(self.pool.columns["key"][0, : self.pool.count])

    def matches(self, queries: Tensor, stored: Tensor) -> Tensor:
        """[T, S] of the long-term spans, which are given, and after these the pool's by slot."""
        if self.pool is None:
            return stored
        return torch.cat([stored, span_matches(queries, self._own, self.stored.span)], dim=1)

    def compared(self, scores: Tensor) -> Compared:
        """The spans of the highest scores [S], as many as are compared with each other."""
        span = self.stored.span
        count = len(scores) - (0 if self.pool is None else self.pool.count // span)
        best = scores[:count].topk(min(COMPARED, count)).indices
        places, unit = best, self.stored.span_directions(best)
        births = self.stored.span_births(best)
        if self.pool is not None:
            near = scores[count:].topk(min(COMPARED, len(scores) - count)).indices
            own = self.pool.birth[0, : self.pool.count].unflatten(0, (-1, span)).amax(dim=-1)
            places = torch.cat([places, count + near])
            unit = torch.cat([unit, self._own.unflatten(0, (-1, span))[near]])
            births = torch.cat([births, own[near]])
        order = scores[places].topk(min(COMPARED, len(places))).indices
        return Compared(places[order], unit[order], births[order])


def _choice(
    weights: MemoryWeights, before: SpansBefore, queries: Tensor, found: Tensor
) -> SpanChoice:
    """What one prompt reads, whose tokens match the long-term spans so well, [T, n / s]."""
    span, rule, count = before.stored.span, weights.superseding, found.shape[1]
    weighs = weights.span_weights is not None
    matches = before.matches(queries, found) if weighs or rule is not None else found
    standing = matches.mean(dim=0)
    scores = standing[:count]
    order = sharpened(matches, count) if before.sharpens else standing
    if len(order) > count:  # the pool is read before anything is retrieved
        order = torch.cat([order[:count], order.new_full((len(order) - count,), torch.inf)])
    if rule is not None and len(standing) > 1:
        some = before.compared(standing)
        pairs = replaced(rule, queries, some.unit, some.births)
        standing, order = (lifted(one, some.places, pairs) for one in (standing, order))
    rows = before.stored.best_spans(order[:count], neighbours=before.neighbours)
    own, pool = standing.tensor_split([count])
    read = torch.cat([own[rows[::span] // span], pool])
    behind = behind_best(read, span) if weighs and len(read) else None
    if rule is None:
        return SpanChoice(rows, scores.repeat_interleave(span), behind)
    gone = read.isneginf().repeat_interleave(span)
    left = scores.masked_fill(own.isneginf(), -torch.inf)
    return SpanChoice(
        rows,
        left.repeat_interleave(span),
        None if behind is None else behind.masked_fill(gone, 0),
        gone * _UNREAD,
    )
