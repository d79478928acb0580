"""What the containers of a memory may hold: shared by import, opening and verification.

A model is at hand when a memory is opened, and not when one is imported or verified; then columns
are compared with each other.

Shapes: L layers, N slots, n rows in use, k new rows, c dropped rows, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.errors import ConfigError
from memplus.memory.bounds import Bounds, shared_by
from memplus.memory.checks import (
    COUNT,
    Count,
    Fields,
    Items,
    Record,
    Seed,
    Text,
    Token,
    checked,
    require,
    require_generator,
    require_tensor,
    require_within,
    require_within_vocabulary,
    require_writes,
    wrong,
)
from memplus.memory.layout import LongTermLayout
from memplus.memory.packing import RowKind
from memplus.memory.records import NewRows
from memplus.memory.span_checks import (
    require_alike,
    require_one_write_each,
    require_whole,
    require_whole_spans,
)
from memplus.store.blocks import Container
from memplus.store.manifest import SegmentEntry
from memplus.store.mapped import column_name

__all__ = [
    "POOL",
    "Expected",
    "RecordMeta",
    "SnapshotMeta",
    "check_record",
    "check_segment",
    "check_snapshot",
]

POOL = "pool."
"""How the names of the short-term pool's tensors begin."""
_LIKE = "like."
_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class SnapshotMeta(Fields):
    """Everything of a state but its tensors."""

    clock: Count
    tail: Items[Token]
    tail_source: Text
    tail_text: Text
    source_tokens: dict[Text, Count]
    version: Count
    waiting: Count | None = None
    writes_since_merge: Count | None = None
    seed: Seed
    max_bytes: Annotated[int, Field(ge=0)] | None
    count: Count
    sources: Items[Text]
    stored: bool
    rows: RowKind


class RecordMeta(Fields):
    """One commit of writes but its tensors."""

    writes: Items[Record]
    tail: Items[Token]
    tail_source: Text
    tail_text: Text
    version: Count


@dataclass(frozen=True)
class Expected:
    """What the states of a memory must fit."""

    config: MemoryConfig
    like: NewRows | None = None
    """``example_rows`` of the model; None where it is not at hand."""
    vocabulary: int | None = None


def check_snapshot(
    snapshot: Container, physical: Sequence[int], expected: Expected
) -> tuple[SnapshotMeta, dict[str, Tensor]]:
    """The content of a snapshot; ``physical`` are the rows in segments that it knows, per layer.

    Raises:
        CorruptMemoryError: naming the field that is out of bounds.
    """
    path = snapshot.path
    meta = checked(SnapshotMeta, _with_kind_of_rows(snapshot.meta), path, "snapshot")
    tensors = {name: snapshot.rows(name) for name in snapshot.names}
    writes = require_tensor(tensors, "writes", path, (torch.int64,), (None, 4))
    require_writes(writes[:, 0].tolist(), path, "writes")
    require_within(writes[:, 1], path, "writes", 0, len(meta.sources) - 1)
    require_within(writes[:, 2:], path, "writes", 0, COUNT)
    _check_tail(snapshot, meta.tail, expected)
    require_generator(tensors, path)
    given = len(writes), meta.clock, meta.rows, expected.like
    bounds = Bounds(path, expected.config, *given, shared=shared_by(tensors))
    pool = {name: tensor for name, tensor in tensors.items() if name.startswith(POOL)}
    layers = None if expected.like is None else int(expected.like.hidden.shape[0])
    if pool:
        bounds.pool(pool, POOL, meta.count)
        layers = int(pool[f"{POOL}position"].shape[0])
    require(bool(pool) or not meta.count, path, "count", f"is {meta.count}, and no row is there")
    known = {"generator", "writes", *pool}
    if meta.stored:
        for name in ("waiting", "writes_since_merge"):
            require(getattr(meta, name) is not None, path, f"snapshot.{name}", "is missing")
        fits = layers is None or len(physical) == layers
        require(fits, path, "physical", f"has {len(physical)} layers, not {layers}")
        known |= _check_tables(snapshot, tensors, physical, bounds)
        if expected.config.retrieves_spans:
            _check_spans(snapshot, tensors, physical, expected.config)
    else:
        require(not any(physical), path, "physical", "counts rows, and no long-term row is there")
    for name in tensors:
        require(name in known, path, f"tensor {name}", "does not belong there")
    return meta, tensors


def _with_kind_of_rows(meta: dict[str, Any]) -> dict[str, Any]:
    """Snapshots of earlier releases say whether rows are in 8 bits."""
    if not isinstance(meta.get("packed"), bool) or "rows" in meta:
        return meta
    others = {name: value for name, value in meta.items() if name != "packed"}
    return others | {"rows": "int8" if meta["packed"] else "exact"}


def _check_tail(container: Container, tail: Sequence[int], expected: Expected) -> None:
    most = expected.config.chunk_tokens
    require(len(tail) <= most, container.path, "tail", f"has more than {most} tokens")
    if expected.vocabulary is not None:
        require_within_vocabulary(tail, expected.vocabulary, container.path, "tail")


def _check_tables(
    snapshot: Container, tensors: Mapping[str, Tensor], physical: Sequence[int], bounds: Bounds
) -> set[str]:
    """The long-term rows' columns and what has left them; returns the names of those tensors."""
    path = snapshot.path
    likes = {name: column for name, column in tensors.items() if name.startswith(_LIKE)}
    known = set(likes)
    bounds.table(likes, _LIKE)
    for layer, rows in enumerate(physical):
        left = rows
        if f"live.{layer}" in tensors:
            name = f"live.{layer}"
            live = require_tensor(tensors, name, path, (torch.int64,), (None,))
            require_within(live, path, name, 0, rows - 1)
            require(bool((live.diff() > 0).all()), path, name, "is not in order")
            left = len(live)
            known.add(name)
        for like, column in likes.items():
            name = f"own.{layer}.{like.removeprefix(_LIKE)}"
            if name in tensors:
                shape = (left, *column.shape[1:])
                require_tensor(tensors, name, path, (column.dtype,), shape)
                known.add(name)
        known |= bounds.centres(tensors, f"centre.{layer}.", layer, left)
    return known


def _check_spans(
    snapshot: Container,
    tensors: Mapping[str, Tensor],
    physical: Sequence[int],
    config: MemoryConfig,
) -> None:
    """Long-term rows are whole spans, and what has left them are the same ones in every layer."""
    path, span = snapshot.path, config.span_rows
    layers = _layers_with_rows(config, len(physical), path)
    counts = {physical[layer] for layer in layers}
    require(len(counts) <= 1, path, "physical", "differs between layers, which share spans")
    require_whole(max(counts, default=0), span, path, "physical")
    live = [tensors.get(f"live.{layer}") for layer in layers]
    left = [one for one in live if one is not None]
    if left:
        ok = len(left) == len(live) and len({len(one) for one in left}) == 1
        require(ok, path, "live", "differs between layers, which share spans")
        require_whole_spans(torch.stack(left), span, path, "live")


def _layout(config: MemoryConfig, layers: int, path: Path) -> LongTermLayout:
    """Which columns the layers of a memory have.

    Raises:
        CorruptMemoryError: the config names layers that are not there.
    """
    try:
        return LongTermLayout.of(config, layers)
    except ConfigError as error:
        name, value = error.fields["field"], error.fields["value"]
        reason = f"are of {layers} layers, and {name} is {value}"
        raise wrong(path, "rows", reason) from error


def _layers_with_rows(config: MemoryConfig, layers: int, path: Path) -> list[int]:
    layout = _layout(config, layers, path)
    return [layer for layer in range(layers) if layout.keeps(layer)]


def check_segment(
    segment: Container,
    entry: SegmentEntry,
    snapshot: Mapping[str, Tensor],
    config: MemoryConfig,
    bounds: tuple[int, int] | None = None,
) -> None:
    """The columns of a segment: those that the snapshot's long-term rows have.

    Args:
        segment: its header; the rows too where ``bounds`` are given.
        entry: how many of its rows belong to the memory.
        snapshot: tensors of the snapshot.
        config: of the memory.
        bounds: how many writes there were, and the clock.

    Raises:
        CorruptMemoryError: naming the column.
    """
    likes = {
        name.removeprefix(_LIKE): column
        for name, column in snapshot.items()
        if name.startswith(_LIKE)
    }
    path = segment.path
    layers = len(entry.rows)
    layout = _layout(config, layers, path)
    for layer, rows in enumerate(entry.rows):
        fits = layout.keeps(layer) or not rows
        require(fits, path, "rows", f"counts {rows} rows of layer {layer}, which keeps none")
        for name, like in likes.items():
            if not layout.has(name, layer):
                continue
            column = column_name(layer, name)
            require(column in segment.names, path, column, "is missing")
            shape, dtype = segment.shape(column), segment.dtype(column)
            ok = dtype == like.dtype and shape[1:] == list(like.shape[1:]) and shape[0] >= rows
            wanted = f"{like.dtype} [{rows} or more, {list(like.shape[1:])}]"
            require(ok, path, column, f"is {dtype} {shape}, not {wanted}")
        if bounds is not None and likes:
            writes, clock = bounds
            for name, least, most in (("birth", -COUNT, clock), ("write_id", 0, writes)):
                column = column_name(layer, name)
                if column not in segment.names:
                    continue
                require_within(segment.rows(column, 0, rows), path, column, least, most)
    if config.retrieves_spans:
        _check_segment_spans(segment, entry, config, read=bounds is not None and likes)


def _check_segment_spans(
    segment: Container, entry: SegmentEntry, config: MemoryConfig, *, read: object
) -> None:
    """Whole spans, of one write each and the same in every layer as far as rows are read."""
    path, span = segment.path, config.span_rows
    layers = _layers_with_rows(config, len(entry.rows), path)
    rows = {entry.rows[layer] for layer in layers}
    require(len(rows) <= 1, path, "rows", "differ between layers, which share spans")
    count = max(rows, default=0)
    require_whole(count, span, path, "rows")
    if not read:
        return
    for name in ("birth", "write_id"):
        # One layer's, or, from earlier releases, every layer's.
        there = [column_name(layer, name) for layer in layers]
        columns = [segment.rows(one, 0, count) for one in there if one in segment.names]
        require_alike(columns, path, name)
    require_one_write_each(columns[0], span, path, "write_id")


def check_record(
    record: Container, writes: int, count: int, expected: Expected
) -> tuple[RecordMeta, int]:
    """One commit in a log.

    Args:
        record: the container.
        writes: how many there were before it.
        count: rows in use of the pool before it.
        expected: what it must fit.

    Returns:
        Its fields, and the rows in use after it.

    Raises:
        CorruptMemoryError: naming the field that is out of bounds.
    """
    path = record.path
    meta = checked(RecordMeta, record.meta, path, "record")
    require_writes([one[0] for one in meta.writes], path, "record.writes", writes)
    _check_tail(record, meta.tail, expected)
    tensors = {name: record.rows(name) for name in record.names}
    require_generator(tensors, path)
    slots = expected.config.short_term_tokens
    known = {"generator"}
    for index in range(len(meta.writes)):
        name = f"hidden.{index}"
        hidden = None if expected.like is None else expected.like.hidden
        layers, width = (None, None) if hidden is None else (hidden.shape[0], hidden.shape[2])
        dtypes = _FLOATS if hidden is None else (hidden.dtype,)
        found = require_tensor(tensors, name, path, dtypes, (layers, None, width))
        new = found.shape[1]
        require(1 <= new <= slots, path, name, f"has {new} rows, with {slots} slots")
        require_whole(new, expected.config.span_rows, path, name)
        known.add(name)
        shape = (found.shape[0], max(0, count + new - slots), count)
        known |= _check_drop(record, tensors, index, shape)
        if expected.config.retrieves_spans and f"drop.{index}" in known:
            drop = tensors[f"drop.{index}"]
            require_whole_spans(drop, expected.config.span_rows, path, f"drop.{index}")
        tiled = expected.config.first_write == "tile" and not count
        count = slots if tiled else min(slots, count + new)
    for name in tensors:
        require(name in known, path, f"tensor {name}", "does not belong there")
    return meta, count


def _check_drop(
    record: Container, tensors: Mapping[str, Tensor], index: int, shape: tuple[int, int, int]
) -> set[str]:
    """Which rows a write dropped: [L, c] of the rows in use, none of them twice."""
    layers, dropped, count = shape
    name = f"drop.{index}"
    if name not in tensors and not dropped:
        return set()
    path = record.path
    found = require_tensor(tensors, name, path, (torch.int32, torch.int64), (layers, dropped))
    require_within(found, path, name, 0, count - 1)
    twice = bool((found.sort(dim=1).values.diff(dim=1) == 0).any())
    require(not twice, path, name, "names a row twice")
    return {name}
