"""Locks hold against other handles, other processes, and end with their process."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from tests.store.mounts import make_read_only, small_disk

from memplus.errors import MemoryBusyError, StorageError
from memplus.store.locks import Lock, alone, shared


def test_a_second_holder_is_refused_or_waits(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "a", "alice")
    with pytest.raises(MemoryBusyError, match="alice"):
        Lock(tmp_path / "a", "alice")
    threading.Timer(0.1, lock.release).start()
    began = time.monotonic()
    with Lock(tmp_path / "a", "alice", wait=60):
        assert time.monotonic() - began >= 0.05
    with Lock(tmp_path / "a", "alice", wait=None):
        pass


def test_a_lock_that_cannot_be_made_is_a_refusal_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Lock(tmp_path / "a" / "b" / ("c" * 300), "alice")
    with small_disk() as disk:
        make_read_only(disk)
        with pytest.raises(StorageError, match=r"[Rr]ead-only"):
            Lock(disk / "a", "alice")


def test_sharing_lets_others_share_and_nobody_be_alone(tmp_path: Path) -> None:
    path = tmp_path / "folders"
    with shared(path), shared(path), alone(path) as taken:
        assert not taken
    with alone(path) as taken:
        assert taken
        with alone(path) as second:
            assert not second


def test_who_shares_waits_for_who_is_alone(tmp_path: Path) -> None:
    path = tmp_path / "folders"
    order: list[str] = []

    def share() -> None:
        with shared(path):
            order.append("shared")

    with alone(path) as taken:
        assert taken
        thread = threading.Thread(target=share)
        thread.start()
        time.sleep(0.1)
        order.append("alone")
    thread.join()
    assert order == ["alone", "shared"]


def test_a_share_goes_with_the_process_that_held_it(tmp_path: Path) -> None:
    path = tmp_path / "folders"
    hear, say = os.pipe()
    process = os.fork()
    if process == 0:
        with shared(path):
            os.write(say, b".")
            time.sleep(60)
        os._exit(1)
    assert os.read(hear, 1) == b"."
    with alone(path) as taken:
        assert not taken
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with alone(path) as taken:
        assert taken
