"""Files are whole or not there, links lead nowhere, and what waits together fails together."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.store.mounts import small_disk
from tests.store.test_faults import Refusing

from memplus.store.disk import Disk, read


def test_a_new_file_is_whole_when_the_block_ends_and_gone_when_it_fails(tmp_path: Path) -> None:
    disk = Disk()
    with disk.create(tmp_path / "a") as sink:
        sink.write(b"head")
        sink.skip(10)
        sink.write(memoryview(b"tail"))
        sink.write_at(b"gap", 4)
    assert (tmp_path / "a").read_bytes() == b"headgap\0\0\0tail"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    with pytest.raises(ValueError, match="no"), disk.create(tmp_path / "b") as sink:
        sink.write(b"half")
        raise ValueError("no")
    assert not (tmp_path / "b").exists()
    with pytest.raises(FileExistsError), disk.create(tmp_path / "a"):
        pass


def test_a_file_is_extended_from_where_it_counts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"counted, and never named")
    sink = Disk().extend(path, 7)
    sink.write(b"!")
    sink.flush()
    sink.close()
    assert path.read_bytes() == b"counted!"


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    with small_disk("64k") as disk:
        with pytest.raises(OSError, match="No space left"), Disk().create(disk / "a") as sink:
            sink.write(bytes(1 << 20))
        assert not list(disk.iterdir())


def test_a_file_takes_anothers_place_in_one_step(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "manifest"
    path.write_bytes(b"old")
    (tmp_path / ".manifest").write_bytes(b"left behind")
    disk.put_aside(b"new", tmp_path / ".manifest")
    assert path.read_bytes() == b"old"
    disk.put_in_place(tmp_path / ".manifest", path)
    assert path.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["manifest"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(OSError):  # noqa: PT011
            read(tmp_path / name)
    with pytest.raises(OSError, match="symbolic"):
        Disk().extend(tmp_path / "link", 1)
    with pytest.raises(FileExistsError):
        Disk().start(tmp_path / "link")
    assert (tmp_path / "real").read_bytes() == b"real"


def test_a_file_is_shared_or_copied(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    Disk().share(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")
    with small_disk() as elsewhere:  # no hard link leads to another disk
        Disk().share(tmp_path / "a", elsewhere / "a")
        assert (elsewhere / "a").read_bytes() == b"content"
    with pytest.raises(FileNotFoundError):
        Disk().share(tmp_path / "missing", tmp_path / "c")


def test_all_that_waits_together_is_awaited_and_the_first_failure_told(tmp_path: Path) -> None:
    done: list[str] = []
    ready = threading.Event()

    def slow() -> None:
        ready.wait(5)
        done.append("slow")

    def failing() -> None:
        raise OSError(errno.EIO, "no")

    def quick() -> None:
        done.append("quick")
        ready.set()

    disk = Disk()
    with pytest.raises(OSError, match="no"):
        disk.together(quick, slow, failing)
    assert sorted(done) == ["quick", "slow"]
    ready.clear()
    with pytest.raises(OSError, match="no"):
        disk.together(failing, quick)
    assert ready.is_set()


def test_removing_what_is_gone_already_is_no_failure(tmp_path: Path) -> None:
    disk = Disk()
    disk.remove(tmp_path / "missing")
    disk.make_folder(tmp_path / "folder")
    (tmp_path / "folder" / "a").write_bytes(b"a")
    disk.remove_tree(tmp_path / "folder")
    disk.remove_tree(tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_every_change_is_announced(tmp_path: Path) -> None:
    seen: list[str] = []

    class Telling(Disk):
        def step(self, call: str, path: Path) -> None:
            seen.append(f"{call} {path.name}")

    disk = Telling()
    disk.put_aside(b"x", tmp_path / "a")
    disk.put_in_place(tmp_path / "a", tmp_path / "b")
    disk.remove(tmp_path / "b")
    folder = f"fsync {tmp_path.name}"
    assert seen == ["create a", "write a", "fsync a", "rename b", folder, "unlink b"]
    with pytest.raises(OSError, match="write was refused"):
        Refusing(2, errno.EIO, lasting=False).put_aside(b"x", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_forked_child_does_several_things_at_once_as_its_parent_did() -> None:
    disk = Disk()
    disk.together(lambda: None, lambda: None)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # threads of the parent would never answer
        disk.together(lambda: None, lambda: None)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


class _ShortOfThreads(ThreadPoolExecutor):
    """Takes a call and then has no thread for it, or one that another call has ended with."""

    def __init__(self, *, runs: bool) -> None:
        super().__init__(1)
        self.runs = runs

    def submit(self, call: Callable[[], None]) -> None:  # type: ignore[override]
        if self.runs:
            super().submit(call).result()
        raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("pool", ["ended", "takes none", "takes it all the same"])
def test_what_no_other_thread_does_is_done_all_the_same_and_once(pool: str) -> None:
    disk, done = Disk(), []

    def failing() -> None:
        done.append("failing")
        raise OSError(errno.EIO, "no")

    disk._pool = _ShortOfThreads(runs="all the same" in pool)
    if pool == "ended":  # as all are once the main thread has ended
        disk._pool = ThreadPoolExecutor(1)
        disk._pool.shutdown()
    disk._pool_of = os.getpid()
    disk.together(*(lambda number=number: done.append(number) for number in range(3)))
    assert sorted(done) == [0, 1, 2]
    done.clear()
    with pytest.raises(OSError, match="no"):
        disk.together(lambda: done.append("first"), failing, lambda: done.append("last"))
    assert sorted(done) == ["failing", "first", "last"]
