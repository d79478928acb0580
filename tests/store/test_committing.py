"""When commits reach the disk, and what the next caller is told."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost, contents, store_on
from tests.store.test_faults import Refusing

from memplus.errors import StorageError
from memplus.store import Lease, MemoryStore, StoredMemory
from memplus.store.disk import Disk
from memplus.store.snapshot import Logged

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
        memory.load_kept()
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


class Late(Disk):
    """An interrupted commit's manifest comes when the next commit has put its own aside."""

    def __init__(self) -> None:
        self.began, self.go_on, self.ended = (threading.Event() for _ in range(3))
        self.armed = False

    def put_aside(self, content: bytes, temporary: Path) -> None:
        late = self.armed and not self.began.is_set()
        if late:
            self.began.set()
            self.go_on.wait(30)
        super().put_aside(content, temporary)
        if late:
            self.ended.set()

    def step(self, call: str, path: Path) -> None:
        if not self.armed or threading.current_thread() is not threading.main_thread():
            return
        if call == "journal commit" and not self.go_on.is_set() and not self.ended.is_set():
            self.began.wait(30)
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            self.step = lambda call, path: self._release(call)  # type: ignore[method-assign]
            raise KeyboardInterrupt  # the second one follows while it waits for the others

    def _release(self, call: str) -> None:
        if call in ("rename", "link"):
            self.go_on.set()
            self.ended.wait(30)


@pytest.mark.parametrize("shared", [False, True])
def test_what_a_twice_interrupted_commit_still_does_takes_no_later_ones_place(
    tmp_path: Path, *, shared: bool
) -> None:
    disk = Late()
    store = store_on(disk, tmp_path, limits=SMALL, lease=Lease("one") if shared else None)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, CHUNK, "a")
        disk.armed = True
        with pytest.raises(KeyboardInterrupt):
            HOST.write(memory, CHUNK * 2, "interrupted")
        kept = contents(memory)
        with memory.labelled("next"):
            HOST.write(memory, CHUNK, "next")
        assert disk.ended.is_set()
        last = contents(memory)
    assert kept["sources"].keys() == {"a"}
    assert store.has_label("alice", "next")
    with store.open("alice", HOST, write=True) as memory:
        assert contents(memory) == last
        left = [path for path in (tmp_path / "memories").rglob(".manifest*") if path.stat().st_size]
        assert not left
    store.verify("alice")


class Failing:
    """Moving rows to a segment fails once so many writes are noted."""

    def __init__(self, memory: StoredMemory, error: BaseException, after: int) -> None:
        self.usual, self.error, self.left = memory.keeper.record, error, after
        memory.keeper.record = self  # type: ignore[assignment,method-assign]

    def __call__(self, memory: StoredMemory, written: Logged) -> None:
        self.left -= 1
        keeper = memory.keeper
        if self.left == 0:
            keeper.segments.move_rows = self.fail  # type: ignore[assignment,method-assign]
            keeper.limits = replace(SMALL, segment=0)
        self.usual(memory, written)

    def fail(self, memory: StoredMemory) -> None:
        raise self.error


def restored(memory: StoredMemory) -> None:
    """No longer failing."""
    del memory.keeper.segments.move_rows, memory.keeper.record  # type: ignore[method-assign]
    memory.keeper.limits = SMALL


@pytest.mark.parametrize("window", [0.0, 60.0])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA"), OSError(5, "no")])
def test_a_call_in_which_a_write_cannot_be_noted_is_not_there_at_all(
    tmp_path: Path, window: float, error: BaseException
) -> None:
    told = StorageError if isinstance(error, OSError) else type(error)
    with made(tmp_path, window) as memory:
        HOST.write(memory, CHUNK, "a")
        kept = contents(memory)
        Failing(memory, error, after=7)
        with pytest.raises(told):
            HOST.write(memory, CHUNK * 9, "b")
        restored(memory)
        # Nor is the call before it lost, which waited for its time.
        assert contents(memory) == kept
        HOST.write(memory, CHUNK * 2, "c")
        HOST.write(memory, CHUNK, "d")
        now = contents(memory)
    store = MemoryStore(tmp_path)
    with store.open("alice", HOST) as again:
        assert contents(again) == now
        assert [one.source for one in again.texts().values()] == ["a", "c", "c", "d"]
    store.verify("alice")


@pytest.mark.parametrize("caught", [True, False])
def test_a_block_in_which_a_write_cannot_be_noted_is_not_there_at_all(
    tmp_path: Path, *, caught: bool
) -> None:
    with made(tmp_path) as memory:
        HOST.write(memory, CHUNK * 4, "a")
        kept = contents(memory)
        Failing(memory, MemoryError(), after=1)
        with pytest.raises(MemoryError), memory.labelled("b"):
            with suppress(MemoryError) if caught else nullcontext():
                HOST.write(memory, CHUNK, "b")
            restored(memory)
            HOST.write(memory, CHUNK, "c")
        if not caught:
            restored(memory)
        assert contents(memory) == kept
        HOST.write(memory, CHUNK, "d")
        now = contents(memory)
    with MemoryStore(tmp_path).open("alice", HOST) as again:
        assert contents(again) == now
        assert not again.has_label("b")


def test_rebuilding_in_which_a_write_cannot_be_noted_changes_nothing(tmp_path: Path) -> None:
    with made(tmp_path) as memory:
        for name in "abc":
            HOST.write(memory, CHUNK * 3, name)
        kept = contents(memory)
        Failing(memory, MemoryError(), after=4)
        with pytest.raises(MemoryError):
            memory.forget(source="a", rebuild=True)
        restored(memory)
        assert contents(memory) == kept
        memory.flush()
        HOST.write(memory, CHUNK, "d")
        now = contents(memory)
    with MemoryStore(tmp_path).open("alice", HOST) as again:
        assert contents(again) == now
