"""How many rows writes will leave in the long-term memory, told before they are made.

Told exactly, by doing to numbers what a write does to rows: a bound would refuse too early, or too
late. Counter eviction removes nothing until more than M rows would be left, so how many rows there
are cannot be told from how long one lives.

Shapes: n rows of one layer, g different counters among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memplus.config import CounterEviction, MemoryConfig, OldestEviction
from memplus.memory.eviction import merged
from memplus.memory.long_term import LongTermPool

__all__ = ["most_rows"]


def most_rows(
    config: MemoryConfig, short_term_rows: int, long_term: LongTermPool | None, writes: int
) -> int:
    """Most rows that a layer's long-term memory holds now and after each of some full writes.

    Args:
        config: of the memory.
        short_term_rows: in the short-term pool now.
        long_term: as it is now.
        writes: how many are to come.
    """
    if not config.has_long_term:
        return 0
    dropped = _dropped(config, short_term_rows, writes)
    held = 0 if long_term is None else len(long_term)
    rule = config.eviction
    if isinstance(rule, OldestEviction):
        return min(held + sum(dropped), rule.max_rows)
    if not isinstance(rule, CounterEviction):
        return held + sum(dropped)
    if long_term is None:
        return _most_counted(torch.zeros(0), dropped, rule, config.retrieved_tokens, 0)
    layers = [long_term.tables[at]["counter"].cpu() for at in long_term.layout.booked]
    # Layers are alike unless something was forgotten.
    different = [one for at, one in enumerate(layers) if not at or not one.equal(layers[at - 1])]
    since = long_term.writes_since_merge
    return max(
        _most_counted(one, dropped, rule, config.retrieved_tokens, since) for one in different
    )


def _dropped(config: MemoryConfig, held: int, writes: int) -> list[int]:
    """Rows that each of some writes drops from a layer's short-term pool."""
    slots, found = config.short_term_tokens, []
    for _ in range(writes):
        new = slots if config.first_write == "tile" and not held else config.tokens_per_write
        found.append(max(0, held + new - slots))
        held = min(slots, held + new)
    return found


def _most_counted(
    counters: Tensor, dropped: Sequence[int], rule: CounterEviction, retrieved: int, since: int
) -> int:
    """Most rows of one layer under counter eviction.

    Args:
        counters: [n] of the rows that are there.
        dropped: rows that come with each write.
        rule: the eviction.
        retrieved: M.
        since: writes since the last merge.
    """
    values, counts = counters.unique(return_counts=True)
    rows = most = len(counters)
    fresh = 0
    for count in dropped:
        rows, fresh, since = rows + count, fresh + count, since + 1
        if since >= rule.every:
            since = 0
            all_values = torch.cat([values, torch.full((1,), float(rule.initial))])
            all_counts = torch.cat([counts, torch.tensor([fresh])])
            after = merged(all_values, rule, retrieved, all_counts)
            if after is not None:
                left, alive = after
                values, place = left[alive].unique(return_inverse=True)
                counts = torch.zeros(len(values), dtype=torch.int64)
                counts.index_add_(0, place, all_counts[alive])
                rows, fresh = int(counts.sum()), 0
        most = max(most, rows)
    return most
