"""Rows move to segments and stay the rows they were; small segments are joined, left ones go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tests.store.fakes import CONFIG, SMALL, FakeHost
from tests.store.test_store import chunks

from memplus.memory.state import Memory
from memplus.store import MemoryStore, StoredMemory
from memplus.store.segments import long_term_tables, waiting_bytes

HOST = FakeHost()
NEVER = replace(SMALL, log=1 << 30, segment=1 << 30)


def rows(memory: Memory) -> list[dict[str, list[object]]]:
    return [
        {n: c.tolist() for n, c in table.columns().items()} for table in long_term_tables(memory)
    ]


def made(path: Path, count: int) -> StoredMemory:
    memory = MemoryStore(path, limits=NEVER).create("alice", HOST)
    HOST.write(memory, chunks(0, count), "a")
    return memory


def test_rows_are_the_same_before_and_after_they_have_moved(tmp_path: Path) -> None:
    with made(tmp_path, 12) as memory:
        segments, before = memory.keeper.segments, rows(memory)
        assert not segments.mapped
        assert waiting_bytes(long_term_tables(memory)) > 0
        segments.move_rows(memory)
        assert rows(memory) == before
        assert waiting_bytes(long_term_tables(memory)) == 0
        assert [entry.rows for entry in segments.entries] == [[len(before[0]["birth"])] * 2]
        segments.move_rows(memory)  # nothing is left to move
        assert len(segments.mapped) == 1


def test_a_small_last_segment_is_joined_with_the_next(tmp_path: Path) -> None:
    with made(tmp_path, 6) as memory:
        segments = memory.keeper.segments
        for smallest, expected in ((0, [1, 2, 3]), (1 << 30, [3, 3])):
            segments.smallest = smallest
            for count in expected:
                HOST.write(memory, chunks(100 * count, 3), "b")
                before = rows(memory)
                segments.move_rows(memory)
                assert rows(memory) == before
                assert len(segments.mapped) == count
        assert sum(entry.rows[0] for entry in segments.entries) == len(before[0]["birth"])


def test_segments_with_rows_that_have_left_are_written_anew_and_the_others_kept(
    tmp_path: Path,
) -> None:
    with made(tmp_path, 8) as memory:
        segments = memory.keeper.segments
        segments.smallest = 0
        segments.move_rows(memory)
        HOST.write(memory, chunks(500, 8), "b")
        segments.move_rows(memory)
        first, second = segments.entries
        for table in long_term_tables(memory):
            gone = torch.arange(len(table)) == second.rows[0]  # one row of the second
            table.keep(~(gone | (torch.arange(len(table)) >= len(table) - 1)))
        before = rows(memory)
        segments.rewrite(memory)
        assert rows(memory) == before
        kept, anew = segments.entries
        assert kept.name == first.name or second.rows[0] < first.rows[0]
        assert anew.name != second.name
        assert [table.live for table in long_term_tables(memory)] == [None, None]
        for table in long_term_tables(memory):
            table.keep(torch.zeros(len(table), dtype=torch.bool))
        segments.rewrite(memory)
        assert not segments.mapped


def test_a_memory_without_long_term_rows_has_no_segments(tmp_path: Path) -> None:
    host = FakeHost(replace(CONFIG, retrieved_tokens=0))
    with MemoryStore(tmp_path, limits=SMALL).create("alice", host) as memory:
        host.write(memory, chunks(0, 30), "a")
        assert long_term_tables(memory) == []
        memory.keeper.segments.move_rows(memory)
        assert not memory.keeper.segments.mapped
