"""Relaxed durability: whole calls, within the window; nothing lost that was waited for."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.store.crashing import HOST
from tests.store.fakes import SMALL, contents
from tests.store.test_crash import Oracle, Server
from tests.store.test_faults import Refusing
from tests.store.test_store import chunks

import memplus
from memplus.errors import ClosedMemoryError, ConfigError, CorruptMemoryError, StorageError
from memplus.store import MemoryStore, StoredMemory

PATIENCE = 60.0
ROOT = Path(__file__).parents[2]
SOURCE = Path(memplus.__file__).parents[1]
ENDING = """
import sys, threading
from tests.store.fakes import FakeHost
from memplus.store import MemoryStore
durability, thread, broken = sys.argv[2:]
host, store = FakeHost(), MemoryStore(sys.argv[1], durability=durability, window=0.5)
memory = store.create("alice", host)

def write(wait=True):
    if wait:
        threading.main_thread().join()
    host.write(memory, [[1, 2, 3, 4]], "a")

def fail(*arguments):
    raise ZeroDivisionError

if broken == "True":
    memory.keeper.commit_prepared = fail
if thread == "main":
    write(wait=False)
elif thread == "daemon":
    worker = threading.Thread(target=write, args=[False], daemon=True)
    worker.start()
    worker.join()
else:
    threading.Thread(target=write).start()
"""


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


def ended(path: Path, durability: str, thread: str, *, broken: bool = False) -> str:
    """What a program says that writes and ends without closing its memory."""
    command = [sys.executable, "-c", ENDING, str(path), durability, thread, str(broken)]
    place = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(ROOT)])}
    done = subprocess.run(
        command, env=place, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("durability", "thread"),
    [("relaxed", "main"), ("relaxed", "daemon"), ("full", "worker")],
)
def test_what_is_written_lasts_where_the_program_ends_without_closing(
    tmp_path: Path, durability: str, thread: str
) -> None:
    assert ended(tmp_path, durability, thread) == ""
    with MemoryStore(tmp_path).open("alice", HOST) as memory:
        assert len(memory.writes) == 1


@pytest.mark.long
def test_a_program_that_ends_says_what_could_not_be_made_to_last(tmp_path: Path) -> None:
    assert "ZeroDivisionError" in ended(tmp_path, "relaxed", "main", broken=True)


def failed_in_time(path: Path, error: BaseException) -> StoredMemory:
    """A memory whose timer's commit has failed."""
    store = MemoryStore(path, limits=SMALL, durability="relaxed", window=0.02)
    memory = store.create("alice", HOST)
    usual = memory.keeper.commit_prepared

    def failing(*arguments: object) -> None:
        raise error

    memory.keeper.commit_prepared = failing  # type: ignore[method-assign]
    HOST.write(memory, chunks(0, 1), "a")
    began = time.monotonic()
    while memory.committing.refused is None:
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.01)
    memory.keeper.commit_prepared = usual  # type: ignore[method-assign]
    return memory


@pytest.mark.parametrize("call", ["flush", "close", "write"])
@pytest.mark.parametrize(
    "error", [CorruptMemoryError(Path("journal"), reason="no"), RuntimeError("no"), MemoryError()]
)
def test_whoever_calls_next_is_told_whatever_was_in_the_timers_way(
    tmp_path: Path, error: BaseException, call: str
) -> None:
    memory = failed_in_time(tmp_path, error)
    calls = {"flush": memory.flush, "close": memory.close}
    with pytest.raises(type(error)):
        calls.get(call, lambda: HOST.write(memory, chunks(8, 1), "b"))()
    assert not memory.writes
    if call != "close":
        HOST.write(memory, chunks(8, 1), "c")
        memory.close()
    with MemoryStore(tmp_path).open("alice", HOST) as again:
        assert [record.source for record in again.writes] == ([] if call == "close" else ["c"])


def test_a_memory_that_is_read_again_by_half_is_closed(tmp_path: Path) -> None:
    memory = failed_in_time(tmp_path, RuntimeError("no"))

    def failing(*arguments: object) -> None:
        raise MemoryError

    memory.keeper.load = failing  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        memory.flush()
    with pytest.raises(ClosedMemoryError):
        HOST.write(memory, chunks(8, 1), "b")
    MemoryStore(tmp_path).open("alice", HOST, write=True).close()


def test_a_write_lasts_at_once_where_there_is_no_thread_for_the_timer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    store = MemoryStore(tmp_path, limits=SMALL, durability="relaxed", window=PATIENCE)
    with store.create("alice", HOST) as memory:
        monkeypatch.setattr(threading.Timer, "start", refused)
        HOST.write(memory, chunks(0, 1), "a")
        with store.open("alice", HOST) as reader:
            assert contents(reader) == contents(memory)
