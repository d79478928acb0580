"""A memory's whole state but its segments, as one container; and one commit of writes as another.

A snapshot keeps everything that was computed. A log record keeps what a write pass made, the
hidden vectors, and which rows were dropped; what follows from them is computed again when it is
read, the rows of one write at a time as then, so that the same bits come out.

Shapes: L layers, N slots, k new rows, c dropped rows, d hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memplus.memory.layout import LongTermLayout
from memplus.memory.packing import named_centres, split_centres
from memplus.memory.records import NewRows, Passage, WriteRecord
from memplus.memory.rows import RowTable
from memplus.memory.short_term import ShortTermPool
from memplus.memory.state import Memory
from memplus.store.blocks import Container, Layout, layout, write_container
from memplus.store.container_contents import POOL, Expected, check_record, check_snapshot
from memplus.store.disk import Disk, Sink
from memplus.store.mapped import MappedTable, Part

__all__ = [
    "Logged",
    "RowsOf",
    "append_record",
    "limit_in",
    "log_record",
    "replay_record",
    "restore",
    "save_snapshot",
]

RowsOf = Callable[[Tensor], NewRows]


@dataclass(frozen=True)
class Logged:
    """One write on its way to the log."""

    record: WriteRecord
    said: Passage
    hidden: Tensor
    """[L, k, d]."""
    drop: Tensor | None
    """[L, c] positions."""

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return self.hidden.nbytes + (0 if self.drop is None else self.drop.nbytes)


def save_snapshot(memory: Memory, path: Path, disk: Disk) -> None:
    """Write everything that no segment holds: pool, generator, records, what has left."""
    tensors: dict[str, Tensor] = {"generator": memory.generator.get_state()}
    if memory.pool is not None:
        tensors |= {POOL + name: column for name, column in memory.pool.tensors().items()}
    meta = _numbers(memory) | {
        "seed": memory.seed,
        "max_bytes": memory.max_bytes,
        "count": memory.short_term_rows,
        "sources": sorted({record.source for record in memory.writes}),
        "stored": memory.long_term is not None,
        "rows": memory.rows,
    }
    numbers = {source: index for index, source in enumerate(meta["sources"])}
    rows = [[r.id, numbers[r.source], r.start, r.tokens] for r in memory.writes]
    tensors["writes"] = torch.tensor(rows, dtype=torch.int64).reshape(-1, 4)
    if memory.long_term is not None:
        for layer, table in enumerate(memory.long_term.tables):
            assert isinstance(table, MappedTable)
            if table.live is not None:
                tensors[f"live.{layer}"] = table.live
            tensors |= {f"own.{layer}.{name}": column for name, column in table.own.items()}
            centres = named_centres(table.centres)
            tensors |= {f"centre.{layer}.{name}": one for name, one in centres.items()}
            # What columns there are, also where no row is.
            tensors |= {f"like.{name}": c[:0] for name, c in table.fresh.columns().items()}
    tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    plan = layout(meta, {name: (t.dtype, list(t.shape)) for name, t in tensors.items()})
    with disk.create(path) as sink:
        write_container(sink, plan, iter(tensors.values()))


def limit_in(path: Path) -> int | None:
    """The bytes that the memory of a snapshot may take; None without a limit.

    Raises:
        OSError, CorruptMemoryError, MemoryVersionError: it cannot be read.
    """
    found = Container.open(path).meta.get("max_bytes")
    return found if isinstance(found, int) else None


def _numbers(memory: Memory) -> dict[str, Any]:
    found: dict[str, Any] = {
        "clock": memory.clock,
        "tail": memory.tail,
        "tail_source": memory.tail_source,
        "tail_text": memory.tail_text,
        "source_tokens": memory.source_tokens,
        "version": memory.version,
    }
    if memory.long_term is not None:
        found["waiting"] = memory.long_term.waiting
        found["writes_since_merge"] = memory.long_term.writes_since_merge
    return found


def restore(
    memory: Memory,
    snapshot: Container,
    parts: Sequence[Sequence[Part]],
    expected: Expected,
) -> dict[str, Tensor]:
    """Make a memory what it was when the snapshot was taken.

    Args:
        memory: is overwritten.
        snapshot: of ``save_snapshot``.
        parts: per layer, the rows in segments that the snapshot knows.
        expected: what it must fit.

    Returns:
        The snapshot's tensors.

    Raises:
        CorruptMemoryError: naming the field that is out of bounds.
    """
    physical = [sum(part.rows for part in layer) for layer in parts]
    meta, found = check_snapshot(snapshot, physical, expected)
    tensors = {name: tensor.clone() for name, tensor in found.items()}
    memory.seed, memory.max_bytes = meta.seed, meta.max_bytes
    memory.clock, memory.version = meta.clock, meta.version
    memory.tail, memory.tail_source = list(meta.tail), meta.tail_source
    memory.tail_text, memory.source_tokens = meta.tail_text, dict(meta.source_tokens)
    memory.rows = meta.rows
    memory.writes = [
        WriteRecord(number, meta.sources[source], start, tokens)
        for number, source, start, tokens in tensors["writes"].tolist()
    ]
    memory.generator.set_state(tensors["generator"])
    memory.derived.clear()
    memory.pool = memory.long_term = None
    device = memory.owner.device
    pool = {name: column.to(device) for name, column in _named(tensors, POOL).items()}
    if pool:
        memory.pool = ShortTermPool.from_tensors(
            pool, meta.count, expected.config.short_term_tokens
        )
    if meta.waiting is not None and meta.writes_since_merge is not None:
        like = {name: column.to(device) for name, column in _named(tensors, "like.").items()}
        layout = LongTermLayout.of(expected.config, len(parts))
        tables = [
            MappedTable(
                part,
                RowTable(_of_layer(like, layer, layout), _centres(tensors, layer, device)),
                tensors.get(f"live.{layer}"),
                {n: c for n, c in _named(tensors, f"own.{layer}.").items() if layout.has(n, layer)},
            )
            for layer, part in enumerate(parts)
        ]
        memory.long_term = memory.long_term_of(tables)
        memory.long_term.waiting = meta.waiting
        memory.long_term.writes_since_merge = meta.writes_since_merge
    return tensors


def _of_layer(like: Mapping[str, Tensor], layer: int, layout: LongTermLayout) -> dict[str, Tensor]:
    """The columns that one layer has."""
    return {name: column for name, column in like.items() if layout.has(name, layer)}


def _centres(tensors: Mapping[str, Tensor], layer: int, device: torch.device) -> dict[str, Tensor]:
    centres = split_centres(_named(tensors, f"centre.{layer}."))[1]
    return {name: centre.to(device) for name, centre in centres.items()}


def _named(tensors: Mapping[str, Tensor], stem: str) -> dict[str, Tensor]:
    return {n.removeprefix(stem): t for n, t in tensors.items() if n.startswith(stem)}


def log_record(memory: Memory, written: Sequence[Logged]) -> tuple[Layout, list[Tensor]]:
    """One commit of writes, to be appended to a log.

    Args:
        memory: as it is after them.
        written: may be empty where only the tail has changed.
    """
    tensors: dict[str, Tensor] = {"generator": memory.generator.get_state()}
    for index, one in enumerate(written):
        tensors[f"hidden.{index}"] = one.hidden
        if one.drop is not None:
            tensors[f"drop.{index}"] = one.drop
    meta = {
        "writes": [
            [w.record.id, w.record.source, w.record.start, w.record.tokens] for w in written
        ],
        "tail": memory.tail,
        "tail_source": memory.tail_source,
        "tail_text": memory.tail_text,
        "version": memory.version,
    }
    plan = layout(meta, {name: (t.dtype, list(t.shape)) for name, t in tensors.items()})
    return plan, list(tensors.values())


def append_record(sink: Sink, base: int, record: tuple[Layout, list[Tensor]]) -> int:
    """Write a record at ``base``; nobody has waited for the disk yet.

    Returns:
        Where the next one goes.
    """
    plan, tensors = record
    write_container(sink, plan, iter(tensors), base)
    return base + plan.total


def replay_record(memory: Memory, record: Container, new_rows: RowsOf, expected: Expected) -> None:
    """Do again what one commit of writes did; ``new_rows`` projects its hidden vectors [L, k, d].

    Raises:
        CorruptMemoryError: it does not follow on the memory's state.
    """
    meta, _ = check_record(record, len(memory.writes), memory.short_term_rows, expected)
    for index, (number, source, start, tokens) in enumerate(meta.writes):
        # A copy: a view would keep the whole log in memory.
        hidden = record.rows(f"hidden.{index}").clone().to(memory.owner.device)
        drop = record.rows(f"drop.{index}") if f"drop.{index}" in record.names else None
        if drop is not None:
            drop = drop.to(memory.owner.device, torch.int64)
        rows = new_rows(hidden)
        memory.take_in(rows, WriteRecord(number, source, start, tokens), drop)
        memory.source_tokens[source] = start + tokens
    memory.tail, memory.tail_source = list(meta.tail), meta.tail_source
    memory.tail_text, memory.version = meta.tail_text, meta.version
    memory.generator.set_state(record.rows("generator").clone())
