"""The disk refuses, at every one of its changes in turn: an error, and nothing is lost."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.store.fakes import SMALL, FakeHost, contents, store_on
from tests.store.test_store import chunks

from memplus.errors import ClosedMemoryError, StorageError, UnknownMemoryError
from memplus.store import MemoryStore, StoredMemory
from memplus.store.disk import Disk

HOST = FakeHost()
ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "failing": errno.EIO}


class Refusing(Disk):
    """Refuses its n-th change, or that one and all after it."""

    def __init__(self, number: int, code: int, *, lasting: bool) -> None:
        self.number = number
        self.code = code
        self.lasting = lasting
        self.count = 0

    def step(self, call: str, path: Path) -> None:
        self.count += 1
        if self.count == self.number or (self.lasting and 0 < self.number < self.count):
            raise OSError(self.code, f"{call} was refused", str(path))


CHANGES: dict[str, Callable[[StoredMemory], Any]] = {
    "a short write": lambda m: HOST.write(m, chunks(5000, 1), "new", [1]),
    "a long write": lambda m: HOST.write(m, chunks(5000, 12), "new"),
    "forget": lambda m: m.forget(source="a"),
    "rebuild": lambda m: m.forget(source="a", rebuild=True),
    "rollback": lambda m: m.rollback(3),
    "pack": lambda m: m.pack("int4"),
}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a memory whose last log ends in the middle of an unfinished commit."""
    path = tmp_path_factory.mktemp("before") / "s"
    with MemoryStore(path, limits=SMALL).create("alice", HOST, seed=2) as memory:
        HOST.write(memory, chunks(0, 3), "a")
        HOST.write(memory, chunks(100, 9), "b", [5])
        HOST.write(memory, chunks(200, 2), "a", [6, 7])
    (part,) = MemoryStore(path).manifest("alice").current.logs
    (log,) = (path / "memories").rglob(part.name)
    log.write_bytes(log.read_bytes() + b"never finished")
    return path


@pytest.mark.long
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_every_refusal_is_an_error_and_loses_nothing(
    tmp_path: Path, before: Path, change: str, lasting: bool, every: int
) -> None:
    codes = list(ERRORS.values())
    with MemoryStore(before, limits=SMALL).open("alice", HOST) as memory:
        old = contents(memory)
    new: dict[str, Any] | None = None
    number, total = 0, 1
    while number <= total:  # the first round, where nothing is refused, counts the changes
        path = tmp_path / str(number)
        shutil.copytree(before, path, symlinks=True)
        disk = Refusing(number, codes[number % 3], lasting=lasting)
        store = MemoryStore(path, limits=SMALL)
        memory = store.open("alice", HOST, write=True)
        memory.keeper.folder.disk = memory.keeper.journal.disk = disk
        refused = False
        try:
            CHANGES[change](memory)
        except StorageError:
            refused = True
        if number == 0:
            assert not refused
            new, total = contents(memory), disk.count
        elif memory.pool is not None:  # it could go back, and is what the disk says
            assert contents(memory) in (old, new)
        memory.close()
        with MemoryStore(path, limits=SMALL).open("alice", HOST, write=True) as again:
            now = contents(again)
            assert now in (old, new), number
            assert refused or now == new
            HOST.write(again, chunks(8000, 3), "after")
        store.verify("alice")
        shutil.rmtree(path)
        number += every if number else 1
    assert total >= 8


@pytest.mark.long
@pytest.mark.parametrize("change", ["create", "fork", "delete", "import"])
def test_memories_come_and_go_whole(tmp_path: Path, before: Path, change: str) -> None:
    file = tmp_path / "alice.zip"
    MemoryStore(before).export("alice", file)

    def act(store: MemoryStore) -> None:
        if change == "create":
            store.create("bob", HOST).close()
        elif change == "fork":
            store.fork("alice", "bob")
        elif change == "delete":
            store.delete("alice")
        else:
            store.import_memory(file, "bob")

    number, total = 0, 1
    while number <= total:
        path = tmp_path / str(number)
        shutil.copytree(before, path)
        disk = Refusing(number, errno.ENOSPC, lasting=number % 2 == 0)
        store = store_on(disk, path, limits=SMALL)
        refused = False
        try:
            act(store)
        except StorageError:
            refused = True
        total = disk.count if number == 0 else total
        assert refused == (number > 0) or disk.count < number, number
        again = MemoryStore(path, limits=SMALL)
        for name in [one.id for one in again.memories()]:
            again.verify(name)
            again.open(name, HOST, write=True).close()
        if change == "delete":
            assert refused or "alice" not in again
        elif "bob" not in again:
            assert refused
            act(again)  # what is left behind is in nobody's way
        shutil.rmtree(path)
        number += 1
    assert total >= 3


def test_a_refused_call_can_be_made_again(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, chunks(0, 3), "a")
        plain = memory.fork()
        memory.keeper.folder.disk = Refusing(2, errno.ENOSPC, lasting=False)
        with pytest.raises(StorageError, match="was refused"):
            HOST.write(memory, chunks(50, 3), "b")
        assert contents(memory) == contents(plain)
        for one in (memory, plain):
            HOST.write(one, chunks(50, 3), "b")
        assert contents(memory) == contents(plain)
    with store.open("alice", HOST) as memory:
        assert contents(memory) == contents(plain)


def test_a_memory_that_cannot_be_read_again_is_closed(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    memory = store.create("alice", HOST)
    HOST.write(memory, chunks(0, 1))
    memory.keeper.folder.disk = Refusing(1, errno.EIO, lasting=True)
    manifest = memory.keeper.folder.path / "manifest"
    content = manifest.read_bytes()
    manifest.unlink()
    with pytest.raises(StorageError):
        HOST.write(memory, chunks(1, 1))
    with pytest.raises(ClosedMemoryError):
        HOST.write(memory, chunks(2, 1))
    with pytest.raises(UnknownMemoryError):
        store.open("alice", HOST)
    manifest.write_bytes(content)
    with store.open("alice", HOST, write=True) as memory:
        assert len(memory.writes) == 1
