"""When commits reach the disk, and what the next caller is told."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_faults import Refusing

from memplus.errors import StorageError
from memplus.store import MemoryStore, StoredMemory

HOST = FakeHost()
CHUNK = [[1, 2, 3, 4]]


def made(path: Path, window: float = 0.0) -> StoredMemory:
    durability = "relaxed" if window else "full"
    store = MemoryStore(path, limits=SMALL, durability=durability, window=window)  # type: ignore[arg-type]
    return store.create("alice", HOST)


def commits(path: Path) -> int:
    return MemoryStore(path).manifest("alice").commit


def test_every_call_is_a_commit_and_one_without_a_change_is_none(tmp_path: Path) -> None:
    with made(tmp_path) as memory:
        before = commits(tmp_path)
        HOST.write(memory, CHUNK, "a")
        assert commits(tmp_path) == before + 1
        memory.commit()
        memory.flush()
        assert commits(tmp_path) == before + 1


def test_a_commit_within_the_window_waits_and_the_overdue_one_does_not(tmp_path: Path) -> None:
    with made(tmp_path, window=60) as memory:
        before = commits(tmp_path)
        for _ in range(3):
            HOST.write(memory, CHUNK, "a")
        assert commits(tmp_path) == before
        memory.committing.window = 1e-9
        HOST.write(memory, CHUNK, "a")
        assert commits(tmp_path) == before + 1


def test_what_is_held_is_one_change(tmp_path: Path) -> None:
    with made(tmp_path) as memory:
        before = commits(tmp_path)
        with memory.committing.held():
            for _ in range(3):
                HOST.write(memory, CHUNK, "a")
            assert commits(tmp_path) == before
        memory.flush()
        assert commits(tmp_path) == before + 1


def test_a_refusal_while_held_is_told_at_the_end(tmp_path: Path) -> None:
    with made(tmp_path) as memory:
        with pytest.raises(OSError, match="no"), memory.committing.held():
            memory.committing.refused = OSError(errno.EIO, "no")
            HOST.write(memory, CHUNK, "a")
        memory.reload()
        assert not memory.writes


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError()])
def test_whatever_ends_a_change_the_memory_is_what_is_on_the_disk(
    tmp_path: Path, error: BaseException
) -> None:
    with made(tmp_path, window=60) as memory:
        HOST.write(memory, CHUNK, "a")
        memory.flush()
        kept = contents(memory)
        HOST.write(memory, CHUNK, "b")

        def interrupted() -> None:
            raise error

        with pytest.raises(type(error)):
            memory.committing.change_disk(interrupted)
        assert contents(memory) == kept
        assert memory.committing._timer is None
        HOST.write(memory, CHUNK, "c")
        now = contents(memory)
    with MemoryStore(tmp_path).open("alice", HOST) as again:
        assert contents(again) == now


def test_a_refused_commit_of_the_timer_is_told_once_and_nothing_is_half_there(
    tmp_path: Path,
) -> None:
    with made(tmp_path, window=0.02) as memory:
        usual = memory.keeper.folder.disk
        kept = contents(memory)
        memory.keeper.folder.disk = Refusing(1, errno.ENOSPC, lasting=True)
        HOST.write(memory, CHUNK, "a")
        until = time.monotonic() + 60
        while memory.committing.refused is None and time.monotonic() < until:
            time.sleep(0.01)
        memory.keeper.folder.disk = usual
        with pytest.raises(StorageError, match="refused"):
            memory.flush()
        assert contents(memory) == kept
        memory.flush()
