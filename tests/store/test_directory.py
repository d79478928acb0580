"""Folders come whole and go whole; what is in use is never tidied, what was left behind is."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost, store_on
from tests.store.test_faults import Refusing
from tests.store.test_taking import Interrupted

from memplus.errors import CorruptMemoryError, StorageError, UnknownMemoryError
from memplus.store import MemoryStore
from memplus.store import directory as directory_module
from memplus.store.directory import Directory
from memplus.store.disk import Disk

HOST = FakeHost()
LONG_AGO = 0


def test_deleting_while_others_open_the_store_succeeds(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    done = threading.Event()
    failed: list[Exception] = []

    def open_for_ever() -> None:
        while not done.is_set():
            try:
                MemoryStore(tmp_path / "s")
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=open_for_ever) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(30):
            store.create(f"memory {number}", HOST).close()
            store.delete(f"memory {number}")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert not list((tmp_path / "s" / "memories").iterdir())


def test_a_folder_that_is_being_filled_is_left_alone_however_old_it_looks(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "s", Disk())
    with directory.made_aside() as folder:
        os.utime(folder.path, (LONG_AGO, LONG_AGO))
        Directory(tmp_path / "s", Disk())
        assert folder.path.is_dir()


def test_what_a_dead_process_left_behind_goes_at_once(tmp_path: Path) -> None:
    Directory(tmp_path / "s", Disk())
    process = os.fork()
    if process == 0:
        with Directory(tmp_path / "s", Disk()).made_aside() as folder:
            (folder.path / "log-1").write_bytes(b"half")
            os._exit(0)
    os.waitpid(process, 0)
    memories = tmp_path / "s" / "memories"
    (memories / ".gone-1").mkdir()
    assert len(list(memories.iterdir())) == 2
    directory = Directory(tmp_path / "s", Disk())
    assert not list(memories.iterdir())
    assert directory.memories() == []


def test_a_block_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "s", Disk())
    with pytest.raises(ValueError, match="no"), directory.arriving("alice") as folder:
        (folder.path / "log-1").write_bytes(b"half")
        raise ValueError("no")
    assert "alice" not in directory
    assert directory.count() == 0
    assert not list((tmp_path / "s" / "memories").iterdir())


def test_a_deletion_that_cannot_finish_says_that_the_memory_is_gone(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    store.create("alice", HOST).close()
    directory = Directory(tmp_path / "s", Refusing(3, errno.EIO, lasting=False))
    with pytest.raises(StorageError, match="is deleted, but not all"):
        directory.remove("alice")
    assert "alice" not in store
    assert list((tmp_path / "s" / "memories").glob(".gone-*"))
    MemoryStore(tmp_path / "s")
    assert not list((tmp_path / "s" / "memories").iterdir())


def test_trying_again_goes_on_only_while_something_changes(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with store.create("alice", HOST) as memory:
        seen: list[int] = []

        def attempt(manifest: object) -> str:
            seen.append(len(seen))
            if len(seen) < 4:
                HOST.write(memory, [[1, 2, 3, 4]])  # a change: what was there is gone
                raise FileNotFoundError(2, "gone", "log-1")
            return "read"

        assert Directory(tmp_path / "s", Disk()).retried("alice", attempt) == "read"
        assert len(seen) == 4

    def missing(manifest: object) -> None:
        raise FileNotFoundError(2, "gone", "log-1")

    with pytest.raises(CorruptMemoryError, match="log-1 is missing"):
        Directory(tmp_path / "s", Disk()).retried("alice", missing)
    with pytest.raises(UnknownMemoryError):
        Directory(tmp_path / "s", Disk()).retried("bob", missing)


def test_what_sqlite_calls_a_failing_disk_is_tried_again_where_the_memory_changed(
    tmp_path: Path,
) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with store.create("alice", HOST) as memory:
        seen: list[int] = []

        def attempt(manifest: object) -> str:
            seen.append(len(seen))
            if len(seen) < 2:
                HOST.write(memory, [[1, 2, 3, 4]])  # a new writer took its journal away
                raise OSError(errno.EIO, "disk I/O error")
            return "read"

        assert Directory(tmp_path / "s", Disk()).retried("alice", attempt) == "read"

    def failing(manifest: object) -> None:
        seen.append(len(seen))
        raise OSError(errno.EIO, "disk I/O error")

    with pytest.raises(StorageError):
        Directory(tmp_path / "s", Disk()).retried("alice", failing)
    assert len(seen) == 3


@pytest.mark.parametrize("number", range(1, 6))
def test_a_store_that_two_processes_make_at_once_is_a_store_of_both(
    tmp_path: Path, number: int
) -> None:
    disk = Interrupted()
    disk.left = number

    def meanwhile() -> None:
        MemoryStore(tmp_path / "s")
        (tmp_path / "s" / "server.db").touch()  # the other one is quick

    disk.meanwhile = meanwhile
    store_on(disk, tmp_path / "s", limits=SMALL).create("alice", HOST).close()
    assert disk.count > number
    assert [*MemoryStore(tmp_path / "s")] == ["alice"]


def test_a_directory_that_becomes_a_store_while_it_is_looked_at_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = os.listdir

    def listed(path: Path) -> list[str]:
        monkeypatch.undo()
        MemoryStore(path)
        (path / "server.db").touch()
        return looking(path)

    (tmp_path / "s").mkdir()
    monkeypatch.setattr(os, "listdir", listed)
    assert len(MemoryStore(tmp_path / "s")) == 0


def test_a_memory_in_the_folder_of_another_name_is_damage(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    store.create("alice", HOST).close()
    directory = Directory(tmp_path / "s", Disk())
    shutil.copytree(directory.folder("alice"), directory.folder("bob"))
    with pytest.raises(CorruptMemoryError, match="another name"):
        directory.manifest("bob")


def test_a_folder_that_tells_no_name_takes_no_other_out_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    names = ["alice", "bob", "carol", "dora", "eve"]
    for name in names:
        store.create(name, HOST).close()
    directory = Directory(tmp_path / "s", Disk())
    manifests = {name: directory.folder(name) / "manifest" for name in names}
    manifests["alice"].rename(tmp_path / "elsewhere")
    manifests["alice"].symlink_to(tmp_path / "elsewhere")
    manifests["bob"].unlink()
    manifests["bob"].mkdir()
    manifests["carol"].write_bytes(b"\n" + b"[" * 100_000)
    real, refusals = directory_module.named_in, [errno.EIO, errno.EACCES, errno.EMFILE]

    def read(folder: Path) -> str:
        if folder == directory.folder("dora"):
            raise OSError(refusals.pop(0), "no")
        return real(folder)

    monkeypatch.setattr(directory_module, "named_in", read)
    for _ in range(2):
        assert directory.names() == ["eve"]
    with pytest.raises(StorageError):  # no descriptor is left: that is no folder's fault
        directory.names()
    monkeypatch.undo()
    assert directory.names() == ["dora", "eve"]
