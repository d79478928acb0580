"""What a memory holds, in numbers for people: sizes, ages, sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from memplus.memory.packing import RowKind
from memplus.memory.state import Memory
from memplus.mplus.evidence import Retrieved

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = [
    "Contents",
    "Reach",
    "SourceShare",
    "bytes_per_token",
    "contents",
    "estimated_tokens",
    "reach",
    "writes_to_come",
]

_SAMPLE = 20_000
"""Characters of a long text that are encoded to estimate its tokens."""

_AGES = (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class SourceShare:
    """What is left of one source."""

    source: str
    writes: int
    tokens: int
    short_term: int
    """Its rows in the short-term pool, over all layers."""
    long_term: int
    """Its rows in the long-term memory, over all layers."""
    waiting: int = 0
    """Its tokens in the tail, which are not yet compressed."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A memory in numbers."""

    tokens: int
    writes: int
    waiting: int
    short_term_rows: int
    """Per layer."""
    long_term_rows: int
    """Per layer."""
    bytes: int
    max_bytes: int | None
    """What it may take; None: no limit."""
    ages: dict[str, int]
    """Ages of short-term rows in rows written since: oldest, median, newest."""
    sources: list[SourceShare]
    """In the order in which they were first written."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back and into which sources a question reaches: rows retrieved, over all layers."""

    ages: list[tuple[int | None, int]]
    """(up to so many tokens written since, rows), newest first; None: older than all bounds."""
    sources: list[tuple[str, int]]
    """Most rows first; "" without a name. Rows that came with the model are in neither list."""


def contents(memory: Memory) -> Contents:
    """Count what a memory holds."""
    writes = len(memory.writes)
    short = torch.zeros(writes + 1, dtype=torch.int64)
    stored = torch.zeros(writes + 1, dtype=torch.int64)
    if memory.pool is not None:
        ids = memory.pool.write_id[:, : memory.pool.count].reshape(-1).long().cpu()
        short += torch.bincount(ids, minlength=writes + 1)
    long_term = memory.long_term
    if long_term is not None:
        for layer in long_term.layout.stored:
            ids = long_term.books(layer)["write_id"].long().cpu()
            stored += torch.bincount(ids, minlength=writes + 1)
    return Contents(
        tokens=memory.tokens,
        writes=writes,
        waiting=len(memory.tail),
        short_term_rows=memory.short_term_rows,
        long_term_rows=memory.long_term_rows,
        bytes=memory.nbytes,
        max_bytes=memory.max_bytes,
        ages=_ages(memory),
        sources=_shares(memory, short.tolist(), stored.tolist()),
    )


def bytes_per_token(model: MPlus, rows: RowKind | None = None) -> float:
    """Bytes that a token of text takes once its rows are in the long-term memory.

    The short-term pool comes on top, once for each memory. 0 where there is no long-term memory.

    Args:
        model: whose rows.
        rows: how they are kept; None: as in a new memory.
    """
    config = model.memory_config
    if not config.has_long_term:
        return 0.0
    each = model.core.row_bytes(rows).long_term
    return each * config.tokens_per_write / config.chunk_tokens


def writes_to_come(memory: Memory, parts: Sequence[tuple[str, int]]) -> float:
    """How many full writes leave as many rows as texts that are written one after another, with a
    share of one for what waits at the end.

    What waits is written as it is once a text of another source comes, and a short chunk leaves
    rows of its own: a hundred small files take more than one file as long as all of them.

    Args:
        memory: as it is before.
        parts: (source, tokens) in their order.
    """
    config = memory.config
    size = config.chunk_tokens
    source, waiting, rows = memory.tail_source, len(memory.tail), 0.0
    for name, tokens in parts:
        if waiting and name != source:
            rows += config.rows_of_write(waiting)
            waiting = 0
        full, waiting = divmod(waiting + tokens, size)
        source, rows = name, rows + full * config.tokens_per_write
    return rows / config.tokens_per_write + waiting / size


def estimated_tokens(model: MPlus, texts: Sequence[str]) -> int:
    """About how many tokens texts have, judged by a sample of each."""
    count = 0.0
    for text in texts:
        sample = text[:_SAMPLE]
        count += len(model.encode(sample)) * len(text) / max(1, len(sample))
    return round(count)


def reach(memory: Memory, found: Sequence[Retrieved]) -> Reach:
    """Count what a question retrieved by age and by source.

    Args:
        memory: that was asked.
        found: what ``MPlus.retrieve`` returned.
    """
    since = [0] * (len(memory.writes) + 1)
    for record in reversed(memory.writes):
        since[record.id - 1] = since[record.id] + record.tokens
    bounds: list[int | None] = [*_AGES, None]
    ages = dict.fromkeys(bounds, 0)
    sources: dict[str, int] = {}
    for one in found:
        if one.write_id:
            age = since[one.write_id]
            ages[next(b for b in bounds if b is None or age <= b)] += one.rows
            sources[one.source] = sources.get(one.source, 0) + one.rows
    oldest = since[0]
    reached = [(b, n) for b, n in ages.items() if n or (b is not None and b <= oldest)]
    return Reach(reached, sorted(sources.items(), key=lambda pair: -pair[1]))


def _ages(memory: Memory) -> dict[str, int]:
    if memory.pool is None or not memory.pool.count:
        return {}
    ages = (memory.clock - memory.pool.birth[:, : memory.pool.count]).reshape(-1)
    return {
        "oldest": int(ages.max()),
        "median": int(ages.median()),
        "newest": int(ages.min()),
    }


def _shares(memory: Memory, short: list[int], stored: list[int]) -> list[SourceShare]:
    shares: dict[str, list[int]] = {}
    for record in memory.writes:
        if not record.tokens:  # forgotten
            continue
        counted = shares.setdefault(record.source, [0, 0, 0, 0])
        new = (1, record.tokens, short[record.id], stored[record.id])
        shares[record.source] = [old + more for old, more in zip(counted, new)]
    if memory.tail:
        shares.setdefault(memory.tail_source, [0, 0, 0, 0])
    waiting = {memory.tail_source: len(memory.tail)}
    return [
        SourceShare(source, writes, tokens, kept, moved, waiting.get(source, 0))
        for source, (writes, tokens, kept, moved) in shares.items()
    ]
