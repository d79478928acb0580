"""Relaxed durability: whole calls, within the window; nothing lost that was waited for."""

from __future__ import annotations

import errno
import random
import time
from pathlib import Path

import pytest
from tests.store.crashing import HOST
from tests.store.fakes import SMALL, contents
from tests.store.test_crash import Oracle, Server
from tests.store.test_faults import Refusing
from tests.store.test_store import chunks

from memplus.errors import ConfigError, StorageError
from memplus.store import MemoryStore

PATIENCE = 60.0


def test_a_write_lasts_within_the_window_by_itself(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL, durability="relaxed", window=0.05)
    memory = store.create("alice", HOST)
    commit = store.manifest("alice").commit
    HOST.write(memory, chunks(0, 1), "a")
    began = time.monotonic()
    while store.manifest("alice").commit == commit:
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.01)
    with store.open("alice", HOST) as reader:
        assert contents(reader) == contents(memory)
    memory.close()


def test_closing_waits_for_everything_and_many_calls_are_one_commit(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL, durability="relaxed", window=PATIENCE)
    plain = HOST.new_memory()
    with store.create("alice", HOST) as memory:
        before = store.manifest("alice").commit
        for turn in range(5):
            for one in (memory, plain):
                HOST.write(one, chunks(10 * turn, turn % 3), "a", [turn])
        assert store.manifest("alice").commit == before
        with store.open("alice", HOST) as reader:
            assert not reader.writes
    assert store.manifest("alice").commit == before + 1
    with store.open("alice", HOST) as memory:
        assert contents(memory) == contents(plain)
        assert len(memory.texts()) == len(plain.writes)


@pytest.mark.long
def test_a_killed_process_leaves_a_whole_state_of_the_past(tmp_path: Path) -> None:
    draw, server, oracle = random.Random(1), Server(), Oracle()
    oracle.upto(24)
    states = [contents(memory) for memory in oracle.memories]
    order = {"from": 0, "to": 24, "writes": oracle.writes[:1], "plan": oracle.plan}
    with server.process:
        for number in range(12):
            folder = tmp_path / str(number)
            store = MemoryStore(folder, limits=SMALL)
            store.create("alice", HOST, seed=9).close()
            told = server.run(
                dir=str(folder), durability="relaxed", number=draw.randint(1, 40), **order
            )
            assert told["killed"] or told["code"] == 0
            with store.open("alice", HOST, write=True) as memory:
                assert contents(memory) in states
            store.verify("alice")


def test_whoever_calls_next_is_told_what_the_disk_refused(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL, durability="relaxed", window=0.02)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, chunks(0, 1), "a")
        memory.flush()
        kept = contents(memory)
        usual, memory.keeper.folder.disk = (
            memory.keeper.folder.disk,
            Refusing(1, errno.ENOSPC, lasting=True),
        )
        HOST.write(memory, chunks(50, 1), "b")
        began = time.monotonic()
        while memory.committing.refused is None:
            assert time.monotonic() - began < PATIENCE
            time.sleep(0.01)
        memory.keeper.folder.disk = usual
        with pytest.raises(StorageError, match="refused"):
            HOST.write(memory, chunks(60, 1), "c")
        assert contents(memory) == kept
        HOST.write(memory, chunks(70, 1), "d")
        now = contents(memory)
    with store.open("alice", HOST) as memory:
        assert contents(memory) == now


def test_other_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="full or relaxed"):
        MemoryStore(tmp_path, durability="never")  # type: ignore[arg-type]
