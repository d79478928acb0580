"""What a memory holds, and what a write does to it: rows, counters, and its own generator.

Forgetting draws from the memory's generator, which is saved with it, so every run can be replayed.
Tensors only: nothing here has heard of a language model.

Shapes: L layers, N short-term rows, n rows in use, k new rows, c dropped rows, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from memplus.bounded import whole
from memplus.errors import BudgetError, MemoryMismatchError, UsageError
from memplus.memory.budget import most_rows
from memplus.memory.guards import Guards, changing
from memplus.memory.layout import LongTermLayout
from memplus.memory.long_term import LongTermPool
from memplus.memory.packing import ROWS, RowKind, pack
from memplus.memory.records import MemoryOwner, NewRows, Passage, RowBytes, SavedFile, WriteRecord
from memplus.memory.repacking import repacked
from memplus.memory.rows import RowTable
from memplus.memory.short_term import (
    ShortTermPool,
    draw_dropped,
    stack_like,
    whole_spans,
)
from memplus.memory.undoing import uninterrupted, whole_write

__all__ = ["MemoryContents"]

_MOST_BYTES = 1 << 62


class MemoryContents:
    """Everything that a memory is made of; ``Memory`` adds what its users do with it."""

    keeps_text = False
    """Whether the texts of writes are wanted (a memory in a store)."""

    def __init__(self, owner: MemoryOwner, seed: int, max_bytes: int | None = None) -> None:
        self.owner = owner
        self.config = owner.memory_config
        self.seed = seed
        self.max_bytes = max_bytes
        self.pool: ShortTermPool | None = None
        self.long_term: LongTermPool | None = None
        self.clock = 0
        self.writes: list[WriteRecord] = []
        # Grows at its end; whoever changes an earlier record puts another list in its place.
        self._counted = self.writes, 0, 0
        self.tail: list[int] = []
        self.tail_source = ""
        self.tail_text = ""
        self.rows: RowKind = "exact"
        self.saved: SavedFile | None = None
        self.source_tokens: dict[str, int] = {}
        self.version = 0
        self.derived: dict[str, Any] = {}
        self.weights_version = owner.weights_version
        self.guards = Guards()
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def max_bytes(self) -> int | None:
        """Bytes that writes must not outgrow; None: no limit."""
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, most: int | None) -> None:
        """Set it; the next write looks at it.

        Raises:
            ConfigError: it is no such number. A file that held another could never be opened.
        """
        if most is not None:
            whole("max_bytes", most, 0, _MOST_BYTES)
        self._max_bytes = most

    @property
    def stale(self) -> bool:
        """Whether its rows were made by weights that its model no longer has."""
        changed = self.weights_version != self.owner.weights_version
        return changed and (self.pool is not None or self.long_term is not None)

    def require_usable(self) -> None:
        """Refuse to read rows that cannot be used.

        Raises:
            MemoryMismatchError: other weights made them; it says what has changed since.
        """
        if self.stale:
            raise MemoryMismatchError(differs=self.owner.changed_since(self.weights_version))

    @property
    def tokens(self) -> int:
        """Text tokens written so far, the tail not counted."""
        writes, (known, counted, total) = self.writes, self._counted
        if known is not writes:
            counted = total = 0
        there = len(writes)  # another thread may add to them meanwhile
        total += sum(record.tokens for record in islice(writes, counted, there))
        self._counted = writes, there, total
        return total

    @property
    def short_term_rows(self) -> int:
        """Rows per layer in the short-term pool."""
        return 0 if self.pool is None else self.pool.count

    @property
    def long_term_rows(self) -> int:
        """Rows per layer in the long-term memory (of the fullest layer)."""
        return 0 if self.long_term is None else len(self.long_term)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows and their bookkeeping, shared ones included."""
        pool = 0 if self.pool is None else self.pool.nbytes
        return pool + (0 if self.long_term is None else self.long_term.nbytes)

    def recent(self, count: int) -> Tensor | None:
        """[L, <= count, d]: hidden vectors of the newest rows; None before the first write."""
        return None if self.pool is None else self.pool.recent[:, -count:]

    def draw_drop(self, new_rows: int) -> Tensor | None:
        """Choose at random which positions a write of ``new_rows`` drops: [L, c], or None.

        Each layer draws for itself unless the config says ``drop="shared"``.
        """
        pool = self.pool
        count = 0 if pool is None else pool.dropped_by(new_rows)
        if pool is None or count == 0:
            return None
        drop = draw_dropped(
            pool.count, count, pool.layers, self.generator,
            shared=self.config.drop == "shared", span=self.config.span_rows,
        )  # fmt: skip
        return drop.to(pool.position.device)

    def before_write(self) -> None:
        """Called before a write begins: a memory that is kept somewhere may refuse."""

    def check_source(self, source: str) -> None:
        """Called before a write begins: a memory that is kept somewhere may refuse the name."""

    def wrote(self, rows: NewRows, record: WriteRecord, drop: Tensor | None, said: Passage) -> None:
        """Called after ``take_in`` with what it took in; ``drop`` [L, c] is what was dropped."""

    def commit(self) -> None:
        """Called when a write returns: a memory that is kept somewhere makes it last."""

    def take_in(
        self,
        rows: NewRows,
        record: WriteRecord,
        drop: Tensor | None,
        said: Passage | None = None,
    ) -> None:
        """Make the rows of one write part of the memory, or nothing of them (M+ section 3.2).

        Args:
            rows: of the write pass.
            record: what was written.
            drop: [L, c] positions to drop, from ``draw_drop`` or given by the caller.
            said: the tokens and text behind the rows, where they are known.

        Raises:
            UsageError: ``drop`` has the wrong shape or an index out of range.
        """
        with whole_write(self):
            drop = self._take_in(rows, record, drop)
            self.wrote(rows, record, drop, said or Passage((), ""))

    def _take_in(self, rows: NewRows, record: WriteRecord, drop: Tensor | None) -> Tensor | None:
        """Take in the rows; what was dropped."""
        count = rows.hidden.shape[1]
        columns = dict(rows.columns)
        pool = self.pool
        if pool is None:
            pool = self._first_pool(rows)
            self.weights_version = self.owner.weights_version
        drop = self._checked_drop(pool, drop, count)
        self.pool = pool
        self.clock += count
        tiled = self.config.first_write == "tile" and not pool.count
        order = _tiling(count, pool.slots) if tiled else torch.arange(count)
        order = order.to(pool.position.device)
        if tiled:
            columns = {name: column[:, order] for name, column in columns.items()}
        birth = self.clock - (count - 1 - order)
        kept = self.config.tokens_per_write
        recent = (rows.hidden[:, order] if tiled else rows.hidden)[:, -kept:].detach()
        if recent.shape[1] < kept:
            recent = torch.cat([pool.recent, recent], dim=1)[:, -kept:]
        dropped = pool.replace(columns, recent, birth, record.id, drop)
        self._keep_dropped(dropped, rows)
        self.writes.append(record)
        self.version += 1
        return drop

    def _first_pool(self, rows: NewRows) -> ShortTermPool:
        columns = stack_like(rows.columns, self.config.short_term_tokens)
        return ShortTermPool(columns, rows.hidden[:, :0], 0)

    def _checked_drop(self, pool: ShortTermPool, drop: Tensor | None, count: int) -> Tensor | None:
        needed = pool.dropped_by(count)
        if drop is None:
            return None if needed == 0 else self.draw_drop(count)
        if drop.dim() != 2:
            raise UsageError(f"drop must be [L, c], not {list(drop.shape)}.")
        drop = drop.to(pool.position.device, torch.int64)
        if drop.shape[0] == 1:
            drop = drop.expand(pool.layers, -1)
        if tuple(drop.shape) != (pool.layers, needed):
            expected = [pool.layers, needed]
            raise UsageError(f"drop has shape {list(drop.shape)}; this write drops {expected}.")
        if needed == 0:
            return None
        if int(drop.min()) < 0 or int(drop.max()) >= pool.count:
            raise UsageError(f"drop holds positions outside 0..{pool.count - 1}.")
        if bool((drop.sort(dim=1).values.diff(dim=1) == 0).any()):
            raise UsageError("drop names a position twice in one layer.")
        if self.config.retrieves_spans and not whole_spans(drop, self.config.span_rows):
            raise UsageError("drop must name whole spans, the same ones in every layer.")
        return drop

    def _keep_dropped(self, dropped: dict[str, Tensor] | None, rows: NewRows) -> None:
        """Hand the dropped rows over; it is there from the first write, which it counts."""
        if not self.config.has_long_term:
            return
        if self.long_term is None and self.pool is not None:
            like = {name: rows.columns[name] for name in rows.long_term}
            like |= {"birth": self.pool.birth, "write_id": self.pool.write_id}
            self.long_term = self.empty_long_term(like)
        if self.long_term is not None:
            names = (*rows.long_term, "birth", "write_id")
            kept = None if dropped is None else {name: dropped[name] for name in names}
            beside = None if self.pool is None else self.pool.held
            self.long_term.append(kept, beside)

    def empty_long_term(self, like: Mapping[str, Tensor]) -> LongTermPool:
        """A long-term memory without rows, with the columns of ``like`` (name -> [L, c, ...])."""
        layers = like["birth"].shape[0]
        layout = LongTermLayout.of(self.config, layers)
        columns = dict(like)
        if self.config.eviction.kind == "counter":
            columns["counter"] = like["birth"].to(torch.float32)
        keys = self.config.retrieves_spans
        return self.long_term_of(
            [
                RowTable(
                    pack(
                        {n: c[:0] for n, c in layout.of_layer(columns, layer).items()},
                        self.rows,
                        keys=keys,
                        share=layout.share(layer),
                    )
                )
                for layer in range(layers)
            ]
        )

    def long_term_of(self, tables: Sequence[RowTable], rows: RowKind | None = None) -> LongTermPool:
        """A long-term memory of these rows, one table per layer, under the memory's rules; they
        are kept as ``rows``, by default as the memory's are."""
        config, kept = self.config, rows or self.rows
        return LongTermPool(
            tables, config.eviction, config.retrieved_tokens, rows=kept, span=config.span_rows
        )

    @property
    def packed(self) -> bool:
        """Whether long-term rows are kept in fewer bits than they were computed in."""
        return self.rows != "exact"

    def pack(self, rows: Literal["int8", "int4", "int2"] = "int8") -> None:
        """Keep long-term rows in 8, 4 or 2 bits from now on, those that are there included.

        Rows in 8 or 4 bits can be packed further; what was packed is never unpacked again. What the
        rows of a layer have in common is kept beside them, which may outweigh what few rows save;
        ``max_bytes`` is looked at by the next write.

        Raises:
            UsageError: there is no such way, or the rows are in fewer bits already.
        """
        if rows not in ROWS[1:]:
            raise UsageError(f"Rows are packed as int8, int4 or int2, not as {rows!r}.")
        with changing(self):
            if ROWS.index(rows) < ROWS.index(self.rows):
                raise UsageError(f"The rows are kept as {self.rows}; packing does not widen them.")
            if rows == self.rows:
                return
            made = self.long_term
            if made is not None:
                keys, layout = self.config.retrieves_spans, made.layout
                beside = {} if self.pool is None else self.pool.held
                tables = [
                    repacked(
                        table,
                        rows,
                        layout.of_layer(beside, layer) or None,
                        keys=keys,
                        share=layout.share(layer),
                    )
                    for layer, table in enumerate(made.tables)
                ]
                since = made.waiting, made.writes_since_merge
                made = self.long_term_of(tables, rows)
                made.waiting, made.writes_since_merge = since
            with uninterrupted():
                self.rows, self.long_term = rows, made
                self.derived.clear()
                self.version += 1

    def check_budget(self, writes: int, row: RowBytes) -> None:
        """Refuse writes that would outgrow ``max_bytes``, before anything is spent.

        Args:
            writes: how many full writes are about to be made; 0: is the memory within it now?
            row: what one row takes.

        Raises:
            BudgetError: with the bytes needed and given.
        """
        if self.max_bytes is None:
            return
        stored = most_rows(self.config, self.short_term_rows, self.long_term, writes)
        needed = self.config.short_term_tokens * row.short_term + stored * row.long_term
        needed += self.config.tokens_per_write * row.recent + (row.common if stored else 0)
        if needed > self.max_bytes:
            raise BudgetError(needed=needed, given=self.max_bytes, already=not writes)


def _tiling(count: int, slots: int) -> Tensor:
    """[slots]: which of ``count`` new rows fills each slot; the remainder repeats the last ones."""
    whole = torch.arange(count).repeat(slots // count)
    rest = slots - whole.numel()
    return torch.cat([whole, torch.arange(count - rest, count)])
