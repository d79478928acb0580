"""A memory: a value of its own, apart from the model that reads and writes it.

It is created pristine, written, forked, saved, loaded, dropped. Forgetting draws from the
memory's own generator, saved with it, so every run can be replayed. Tensors only: nothing here
has heard of a language model.

Shapes: L layers, N short-term rows, n rows in use, k new rows, c dropped rows, d hidden size.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from memplus.config import MemoryConfig, NoEviction, OldestEviction
from memplus.errors import BudgetError, MemoryMismatchError, UsageError
from memplus.memory.long_term import LongTermPool
from memplus.memory.packing import pack
from memplus.memory.rows import RowTable
from memplus.memory.short_term import ShortTermPool, draw_dropped, stack_like
from memplus.memory.written_text import WrittenText

if TYPE_CHECKING:
    from memplus.memory.forgetting import Forgotten

__all__ = ["Memory", "MemoryHost", "NewRows", "Passage", "RowBytes", "SavedFile", "WriteRecord"]


class MemoryHost(Protocol):
    """What a memory must know of its model."""

    @property
    def fingerprint(self) -> str:
        """Tells these weights, this read adapter and this config from any others."""
        ...

    @property
    def memory_config(self) -> MemoryConfig:
        """Sizes and rules of its memories."""
        ...

    @property
    def device(self) -> torch.device:
        """Where rows are kept."""
        ...

    @property
    def weights_version(self) -> int:
        """Grows with every change of a weight."""
        ...

    @property
    def identity(self) -> Mapping[str, str]:
        """The parts of the fingerprint, and the tokenizer's, each by its name."""
        ...

    @property
    def name(self) -> str:
        """What the model is called."""
        ...

    def new_memory(self, seed: int = 0, *, max_bytes: int | None = None) -> Memory:
        """A pristine memory."""
        ...

    def new_rows(self, hidden: Tensor) -> NewRows:
        """What is kept of the rows [L, k, d] of one write."""
        ...

    def replay(self, memory: Memory, passages: Sequence[tuple[str, Passage]]) -> None:
        """Write passages (source, what is said) again, one chunk each."""
        ...


@dataclass(frozen=True)
class WriteRecord:
    """One write: which tokens of which source became rows with this id."""

    id: int
    """From 1; 0 stands for the rows that came with the model."""
    source: str
    start: int
    """First token, counted from the beginning of the source."""
    tokens: int
    """How many tokens the write took in."""


@dataclass(frozen=True)
class Passage:
    """What one write took in."""

    tokens: tuple[int, ...]
    text: str
    """Empty where it is not known."""


@dataclass(frozen=True)
class NewRows:
    """What a write pass made: hidden vectors and what is kept of them."""

    hidden: Tensor
    """[L, k, d]."""
    columns: Mapping[str, Tensor]
    """Column name -> [L, k, ...] (``passes.rows``)."""
    long_term: tuple[str, ...]
    """The columns that go to the long-term memory."""


@dataclass(frozen=True)
class SavedFile:
    """The file that a memory was loaded from or saved to last."""

    path: Path
    """Absolute."""
    digest: str
    """What tells its content from any other."""


@dataclass(frozen=True)
class RowBytes:
    """Bytes that one row takes, all layers together."""

    short_term: int
    """In the short-term pool, bookkeeping included."""
    long_term: int
    """In the long-term memory, bookkeeping included."""
    recent: int
    """As a hidden vector among the newest."""


class Memory:
    """A long memory in hidden states. Made by ``MPlus.new_memory``; pass it to reads and writes.

    Attributes:
        config: sizes and rules.
        tail: token ids not yet written, fewer than a chunk; reads see them as ordinary text.
        tail_source: the source of the tail.
        writes: a record per write, in order.
        max_bytes: writes that would outgrow it are refused before they start; None: no limit.
        tail_text: the text of the tail, where the memory keeps texts.
        packed: whether long-term rows are kept in 8 bits.
        saved: the file that it was loaded from or saved to last.
    """

    keeps_text = False
    """Whether the texts of writes are wanted (a memory in a store)."""

    def __init__(self, host: MemoryHost, seed: int, max_bytes: int | None = None) -> None:
        self.host = host
        self.config = host.memory_config
        self.seed = seed
        self.max_bytes = max_bytes
        self.pool: ShortTermPool | None = None
        self.long_term: LongTermPool | None = None
        self.clock = 0
        self.writes: list[WriteRecord] = []
        self.tail: list[int] = []
        self.tail_source = ""
        self.tail_text = ""
        self.packed = False
        self.saved: SavedFile | None = None
        self.source_tokens: dict[str, int] = {}
        self.version = 0
        self.derived: dict[str, Any] = {}
        self.weights_version = host.weights_version
        self.generator = torch.Generator().manual_seed(seed)

    def __repr__(self) -> str:
        return (
            f"Memory(writes={len(self.writes)}, tokens={self.tokens}, "
            f"short_term={self.short_term_rows}, long_term={self.long_term_rows}, "
            f"nbytes={self.nbytes})"
        )

    @property
    def stale(self) -> bool:
        """Whether its rows were made by weights that its model no longer has."""
        changed = self.weights_version != self.host.weights_version
        return changed and (self.pool is not None or self.long_term is not None)

    @property
    def tokens(self) -> int:
        """Text tokens written so far, the tail not counted."""
        return sum(record.tokens for record in self.writes)

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

    def texts(self, writes: Iterable[int] | None = None) -> Mapping[int, WrittenText]:
        """What writes said, by id (None: all of them); nothing where no text is kept."""
        return {}

    def fork(self) -> Memory:
        """The same memory, going its own way: neither sees what the other writes from here on."""
        twin = Memory(self.host, self.seed, self.max_bytes)
        twin.config = self.config
        twin.pool = None if self.pool is None else self.pool.fork()
        twin.long_term = None if self.long_term is None else self.long_term.fork()
        twin.clock = self.clock
        twin.writes = list(self.writes)
        twin.tail = list(self.tail)
        twin.tail_source = self.tail_source
        twin.tail_text = self.tail_text
        twin.packed = self.packed
        twin.saved = self.saved
        twin.source_tokens = dict(self.source_tokens)
        twin.version = self.version
        twin.weights_version = self.weights_version
        twin.generator.set_state(self.generator.get_state())
        return twin

    def short_term_only(self) -> Memory:
        """A fork without the long-term memory: what a MemoryLLM with the same drops would hold."""
        twin = self.fork()
        twin.config = replace(self.config, retrieved_tokens=0)
        twin.long_term = None
        return twin

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save as one file, written aside and renamed; see ``memory.format``.

        Raises:
            MemoryMismatchError: the model's weights have changed since; the file would lie.
            MemoryChangedError: it was loaded from ``path``, which has been changed since.
            NotFoundError: the folder of ``path`` is missing.
            StorageError: the disk refused; an older file is intact.
        """
        if self.stale:
            raise MemoryMismatchError(differs="weights")
        from memplus.memory.format import save_memory

        save_memory(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: MemoryHost) -> Memory:
        """Open a saved memory.

        Raises:
            MemoryMismatchError: another model, adapter or config wrote it.
            CorruptMemoryError, MemoryVersionError: the file cannot be used.
            NotFoundError, StorageError: it is not there, or cannot be read.
        """
        from memplus.memory.format import load_memory

        return load_memory(path, model)

    def forget(
        self,
        *,
        source: str | None = None,
        write: int | Iterable[int] | None = None,
        match: str | re.Pattern[str] | None = None,
        rebuild: bool = False,
    ) -> Forgotten:
        """Take out what some writes left: their short-term, long-term and tail rows.

        Args:
            source: everything written under this name.
            write: ids of writes.
            match: writes whose text holds this; needs a memory in a store, which keeps texts.
            rebuild: write the others again, so that no trace stays; needs a store as well.

        Raises:
            UsageError: nothing is named, a write is unknown, or texts are needed and not kept.
        """
        if match is not None or rebuild:
            raise UsageError("This memory keeps no texts; open it from a store for that.")
        if source is None and write is None:
            raise UsageError("Name a source or writes to forget.")
        from memplus.memory.forgetting import chosen_writes, forget_rows

        ids = chosen_writes(self, source, write)
        return forget_rows(self, ids, tail=source is not None and self.tail_source == source)

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
        shared = self.config.drop == "shared"
        drop = draw_dropped(pool.count, count, pool.layers, self.generator, shared=shared)
        return drop.to(pool.position.device)

    def before_write(self) -> None:
        """Called before a write begins: a memory that is kept somewhere may refuse."""

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
        """Make the rows of one write part of the memory (M+ section 3.2).

        Args:
            rows: of the write pass.
            record: what was written.
            drop: [L, c] positions to drop, from ``draw_drop`` or given by the caller.
            said: the tokens and text behind the rows, where they are known.

        Raises:
            UsageError: ``drop`` has the wrong shape or an index out of range.
        """
        count = rows.hidden.shape[1]
        columns = dict(rows.columns)
        pool = self._first_pool(rows) if self.pool is None else self.pool
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
        self.wrote(rows, record, drop, said or Passage((), ""))

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
        return drop

    def _keep_dropped(self, dropped: dict[str, Tensor] | None, rows: NewRows) -> None:
        """Hand the dropped rows over; a store is there from the first write, which it counts."""
        if not self.config.has_long_term:
            return
        if self.long_term is None and self.pool is not None:
            like = {name: rows.columns[name] for name in rows.long_term}
            like |= {"birth": self.pool.birth, "write_id": self.pool.write_id}
            self.long_term = self.empty_long_term(like)
        if self.long_term is not None:
            names = (*rows.long_term, "birth", "write_id")
            kept = None if dropped is None else {name: dropped[name] for name in names}
            self.long_term.append(kept)

    def empty_long_term(self, like: Mapping[str, Tensor]) -> LongTermPool:
        """A store without rows, with the columns of ``like`` (name -> [L, c, ...])."""
        layers = next(iter(like.values())).shape[0]
        columns = dict(like)
        if self.config.eviction.kind == "counter":
            columns["counter"] = like["birth"].to(torch.float32)
        if self.packed:
            columns = pack(columns, leading=2)
        return self.long_term_of(
            [
                RowTable({name: column[layer, :0] for name, column in columns.items()})
                for layer in range(layers)
            ]
        )

    def long_term_of(self, tables: Sequence[RowTable]) -> LongTermPool:
        """A store of these rows, one table per layer, under the memory's rules."""
        config = self.config
        return LongTermPool(tables, config.eviction, config.retrieved_tokens, packed=self.packed)

    def pack(self) -> None:
        """Keep long-term rows in 8 bits from now on, those that are there included."""
        if self.packed:
            return
        self.packed = True
        if self.long_term is not None:
            waiting, since = self.long_term.waiting, self.long_term.writes_since_merge
            self.long_term = self.long_term_of(
                [RowTable(pack(t.columns())) for t in self.long_term.tables]
            )
            self.long_term.waiting, self.long_term.writes_since_merge = waiting, since
        self.derived.clear()
        self.version += 1

    def check_budget(self, writes: int, row: RowBytes) -> None:
        """Refuse writes that would outgrow ``max_bytes``, before anything is spent.

        Args:
            writes: how many full writes are about to be made.
            row: what one row takes.

        Raises:
            BudgetError: with the bytes needed and given.
        """
        if self.max_bytes is None:
            return
        new = writes * self.config.tokens_per_write
        dropped = max(0, self.short_term_rows + new - self.config.short_term_tokens)
        stored = 0
        if self.config.has_long_term:
            stored = self.long_term_rows + dropped
            if isinstance(self.config.eviction, OldestEviction):
                stored = min(stored, self.config.eviction.max_rows)
            elif not isinstance(self.config.eviction, NoEviction):
                rule = self.config.eviction
                life = int(rule.initial / max(rule.decay, 1e-9) + 1) * rule.every
                stored = min(stored, life * self.config.tokens_per_write + self.long_term_rows)
        needed = self.config.short_term_tokens * row.short_term + stored * row.long_term
        needed += self.config.tokens_per_write * row.recent
        if needed > self.max_bytes:
            raise BudgetError(needed=needed, given=self.max_bytes)


def _tiling(count: int, slots: int) -> Tensor:
    """[slots]: which of ``count`` new rows fills each slot; the remainder repeats the last ones."""
    whole = torch.arange(count).repeat(slots // count)
    rest = slots - whole.numel()
    return torch.cat([whole, torch.arange(count - rest, count)])
