"""Commits reach the log or become checkpoints, and what is open is little."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_changes import story
from tests.store.test_store import chunks

from memplus.errors import CorruptMemoryError
from memplus.store import MemoryStore, StoredMemory

HOST = FakeHost()
BIG = replace(SMALL, log=1 << 30, segment=1 << 30)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def maps(path: Path) -> int:
    return Path("/proc/self/maps").read_text().count(f"{path}/")


def test_a_short_commit_goes_to_the_log_and_a_long_one_becomes_a_checkpoint(
    tmp_path: Path,
) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        first = store.manifest("alice")
        assert (len(first.generations), first.current.logged) == (1, 0)
        HOST.write(memory, chunks(0, 1), "a")
        logged = store.manifest("alice")
        assert logged.current.snapshot == first.current.snapshot
        assert logged.current.logged > 0
        assert not memory.keeper.must_checkpoint
        HOST.write(memory, chunks(100, 40), "a")
        whole = store.manifest("alice")
        assert whole.current.snapshot != first.current.snapshot
        assert (whole.current.logged, len(whole.generations)) == (0, 2)
        assert whole.segments


def test_commits_share_one_log_whatever_is_forked_meanwhile(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=BIG)
    with store.create("alice", HOST) as memory:
        for turn in range(3):
            HOST.write(memory, chunks(turn, 1), "a")
        (part,) = store.manifest("alice").current.logs
        store.fork("alice", "bob")
        for turn in range(3):
            HOST.write(memory, chunks(10 + turn, 1), "a")
        (grown,) = store.manifest("alice").current.logs
        assert (grown.name, grown.length > part.length) == (part.name, True)
        now = contents(memory)
    with store.open("bob", HOST) as memory:
        assert len(memory.writes) == 3
        assert store.manifest("bob").current.logs == [part]
    with store.open("alice", HOST) as memory:
        assert contents(memory) == now


@pytest.mark.parametrize(("write", "most"), [(False, 3), (True, 4)], ids=["reader", "writer"])
def test_an_open_memory_holds_few_descriptors_however_many_segments_it_has(
    tmp_path: Path, write: bool, most: int
) -> None:
    store = MemoryStore(tmp_path, limits=replace(SMALL, segment=1))
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
    assert len(store.manifest("alice").segments) > 5
    gc.collect()
    before = descriptors()
    memory = store.open("alice", HOST, write=write)
    contents(memory)
    if write:
        HOST.write(memory, chunks(0, 3), "later")
    assert descriptors() - before <= most
    memory.close()
    assert descriptors() == before


@pytest.mark.parametrize("write", [False, True], ids=["reader", "writer"])
def test_closing_ends_the_maps_at_once_but_those_that_a_fork_reads(
    tmp_path: Path, write: bool
) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
        now = contents(memory)
    gc.collect()
    gc.disable()  # it must not take the collector
    try:
        memory = store.open("alice", HOST, write=write)
        assert maps(tmp_path) > 0
        fork = memory.fork()
        memory.close()
        assert maps(tmp_path) > 0
        assert contents(fork) == now
        del fork
        assert maps(tmp_path) == 0
    finally:
        gc.enable()


def test_a_change_that_failed_half_way_is_undone_by_reopening(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=BIG)
    memory: StoredMemory
    with store.create("alice", HOST) as memory:
        HOST.write(memory, chunks(0, 2), "a")
        now = contents(memory)
        keeper = memory.keeper
        HOST._chunk(memory, [7, 7, 7, 7], "b", "never committed")
        (keeper.folder.path / "log-0123456789abcdef").write_bytes(b"left behind")
        keeper.reopen()
        memory.load_kept()
        assert contents(memory) == now
        assert not list(keeper.folder.path.glob("log-0123456789abcdef"))
        HOST.write(memory, chunks(8, 1), "c")
        manifest = keeper.folder.path / "manifest"
        content = manifest.read_bytes()
        manifest.write_bytes(content[:-1])
        with pytest.raises(CorruptMemoryError):
            keeper.reopen()
        manifest.write_bytes(content)
        keeper.reopen()
    with store.open("alice", HOST) as memory:
        assert [record.source for record in memory.writes] == ["a", "a", "c"]
