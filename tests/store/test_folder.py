"""A memory's files: names, segments, the log that may grow, and what nobody names."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost
from tests.store.test_changes import story

from memplus.errors import CorruptMemoryError
from memplus.store import MemoryStore, StoredMemory
from memplus.store.folder import parts_of, trimmed
from memplus.store.manifest import SegmentEntry
from memplus.store.segments import long_term_tables

HOST = FakeHost()


@pytest.fixture
def memory(tmp_path: Path) -> StoredMemory:
    made = MemoryStore(tmp_path, limits=SMALL).create("alice", HOST)
    story(HOST, made)
    return made


def test_names_are_new_and_of_their_kind(memory: StoredMemory) -> None:
    folder = memory.keeper.folder
    names = {folder.new("log").name for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("log-") and len(name) == 20 for name in names)


def test_segments_hold_what_the_manifest_says_or_are_damaged(memory: StoredMemory) -> None:
    folder, manifest = memory.keeper.folder, memory.keeper.manifest
    found = folder.segments(manifest)
    assert [segment.entry for segment in found] == manifest.segments
    assert all(segment.whole for segment in found)
    first = manifest.segments[0]
    fewer = replace(manifest, segments=[SegmentEntry(first.name, [n - 1 for n in first.rows])])
    assert not folder.segments(fewer)[0].whole
    more = replace(manifest, segments=[SegmentEntry(first.name, [n + 1 for n in first.rows])])
    with pytest.raises(CorruptMemoryError, match="too few rows"):
        folder.segments(more)
    gone = replace(manifest, segments=[SegmentEntry("segment-" + 16 * "0", first.rows)])
    with pytest.raises(FileNotFoundError):
        folder.segments(gone)


def test_a_segment_holds_the_rows_that_were_asked_for(memory: StoredMemory) -> None:
    tables = long_term_tables(memory)
    bounds = [(2, 7)] * len(tables)
    segment = memory.keeper.folder.write_segment(tables, 0, bounds)
    assert segment.entry.rows == [5] * len(tables)
    for layer, table in enumerate(tables):
        part = parts_of([segment], segment.entry.rows)[layer][0]
        assert part.between("birth", 0, 5).tolist() == table["birth"][2:7].tolist()


def test_parts_are_the_first_rows_of_all_segments_together(memory: StoredMemory) -> None:
    segments = memory.keeper.folder.segments(memory.keeper.manifest)
    every = [sum(segment.entry.rows[layer] for segment in segments) for layer in range(2)]
    short = [every[0], every[1] - 1]
    assert [sum(part.rows for part in layer) for layer in parts_of(segments, short)] == short
    with pytest.raises(CorruptMemoryError, match="1 rows of layer 1 are missing"):
        parts_of(segments, [every[0], every[1] + 1])


def test_trimming_leaves_out_what_no_state_needs() -> None:
    entries = [SegmentEntry("a", [3, 4]), SegmentEntry("b", [2, 2]), SegmentEntry("c", [5, 5])]
    assert trimmed(entries, []) == []
    assert trimmed(entries, [3, 3]) == [SegmentEntry("a", [3, 3])]
    assert trimmed(entries, [4, 4]) == [SegmentEntry("a", [3, 4]), SegmentEntry("b", [1, 0])]
    assert trimmed(entries, [10, 11]) == entries


def test_a_log_that_another_shares_is_not_appended_to(memory: StoredMemory, tmp_path: Path) -> None:
    """As forks of earlier releases do; today's have logs of their own."""
    folder = memory.keeper.folder
    HOST.write(memory, [[1, 2, 3, 4]], "a")
    sink, part = folder.open_log(memory.keeper.manifest)
    sink.close()
    assert part is not None
    assert sink.path.name == part.name
    MemoryStore(tmp_path).fork("alice", "bob")
    sink, own = folder.open_log(memory.keeper.manifest)
    sink.close()
    assert own == part
    os.link(folder.path / part.name, tmp_path / "shared")
    sink, shared = folder.open_log(memory.keeper.manifest)
    sink.close()
    assert shared is None
    assert sink.path.name != part.name
    sink, closed = folder.open_log(replace(memory.keeper.manifest, log_open=False))
    sink.close()
    assert closed is None


def test_only_what_nobody_names_is_removed(memory: StoredMemory) -> None:
    folder, manifest = memory.keeper.folder, memory.keeper.manifest
    for name in ("log-1", "segment-1", ".manifest", "journal-1-wal"):
        (folder.path / name).write_bytes(b"x")
    folder.collect(manifest, used={"segment-1"})
    left = {path.name for path in folder.path.iterdir()}
    assert manifest.files() | {"manifest", "segment-1"} <= left
    assert not left & {"log-1", ".manifest", "journal-1-wal"}
    assert f"{manifest.journal}-wal" in left  # SQLite's own
