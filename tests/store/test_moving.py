"""A move leaves the memory in one of two directories, whole, whatever ends it; never in both."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.store.crashing import Deadly
from tests.store.fakes import SMALL, FakeHost, contents, store_on
from tests.store.test_changes import story
from tests.store.test_faults import Refusing
from tests.store.test_store import chunks
from tests.store.test_taking import Interrupted, Owner, labelled

from memplus.errors import (
    LeaseLostError,
    MemoryBusyError,
    MemoryExistsError,
    StorageError,
    UnknownMemoryError,
    UsageError,
)
from memplus.store import MemoryStore
from memplus.store.disk import Disk

HOST = FakeHost()


def pair(path: Path) -> tuple[MemoryStore, MemoryStore, dict[str, Any]]:
    """Two stores, a memory in the first, and what it is."""
    path.mkdir(exist_ok=True)
    one = MemoryStore(path / "one", limits=SMALL)
    with one.create("alice", HOST, seed=3) as memory:
        story(HOST, memory, calls=6)
        labelled(memory, "ab12", chunks(70, 1))
        kept = contents(memory)
    return one, MemoryStore(path / "two", limits=SMALL), kept


def require_in_one(one: MemoryStore, two: MemoryStore, kept: dict[str, Any]) -> MemoryStore:
    """The only one of two stores that has the memory, which is as it was."""
    (there,) = [store for store in (one, two) if "alice" in store]
    (other,) = {one, two} - {there}
    assert [*other] == []
    assert [*there] == ["alice"]
    with pytest.raises(UnknownMemoryError):
        other.open("alice", HOST, write=True)
    with there.open("alice", HOST) as memory:
        assert contents(memory) == kept
        assert memory.has_label("ab12")
    there.verify("alice")
    return there


def names(store: MemoryStore) -> list[str]:
    return [entry.name for entry in (store.path / "memories").iterdir()]


def test_all_of_a_memory_moves(tmp_path: Path) -> None:
    one, two, kept = pair(tmp_path)
    states, created = one.history("alice"), one.manifest("alice").created
    one.move("alice", two)
    assert require_in_one(one, two, kept) is two
    assert two.history("alice") == states
    assert abs(two.manifest("alice").created - created) < 1e-6
    assert names(one) == []
    with two.open("alice", HOST, write=True) as memory:
        memory.rollback(states[1].writes)
        story(HOST, memory, calls=3)
    assert set(os.listdir(two._directory.folder("alice"))) == {
        "manifest", *two.manifest("alice").files()
    }  # fmt: skip
    two.move("alice", one)
    one.move("alice", two)
    two.verify("alice")
    with one.create("alice", HOST) as another:
        story(HOST, another, calls=2)
    with pytest.raises(MemoryExistsError):
        one.move("alice", two)
    assert "alice" in one


def test_a_memory_that_somebody_writes_to_or_that_is_not_there_does_not_move(
    tmp_path: Path,
) -> None:
    one, two, kept = pair(tmp_path)
    with one.open("alice", HOST, write=True), pytest.raises(MemoryBusyError):
        one.move("alice", two)
    with pytest.raises(UnknownMemoryError):
        one.move("bob", two)
    with pytest.raises(UsageError, match="there already"):
        one.move("alice", MemoryStore(tmp_path / "one"))
    assert require_in_one(one, two, kept) is one


def test_a_move_takes_no_copy_for_waste_whose_origin_is_out_of_reach(tmp_path: Path) -> None:
    one, two, kept = pair(tmp_path)
    one.move("alice", two)
    folder = two._directory.folder("alice")
    arriving = folder.with_name(f".arriving-{folder.name}")
    folder.rename(arriving)  # as if it had been cut short, and its origin were not mounted
    (arriving / "from").write_text('{"path": "/nowhere", "move": "1"}')
    with one.create("alice", HOST):
        pass
    with pytest.raises(MemoryExistsError):
        one.move("alice", two)
    one.delete("alice")
    arriving.rename(folder)
    assert require_in_one(one, two, kept) is two


def test_a_damaged_memory_stays_where_it_is(tmp_path: Path) -> None:
    one, two, _ = pair(tmp_path)
    (file,) = (one.path / "memories").rglob(one.manifest("alice").current.snapshot)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(Exception, match="damaged"):
        one.move("alice", two)
    assert ("alice" in one, "alice" in two, names(two)) == (True, False, [])


@pytest.mark.long
@pytest.mark.parametrize("which", ["one", "two"])
def test_killed_at_any_change_of_the_disk(tmp_path: Path, which: str) -> None:
    number, places = 0, set()
    while True:
        number += 1
        path = tmp_path / str(number)
        kept = pair(path)[2]
        child = os.fork()
        if child == 0:
            disks = {"one": Disk(), "two": Disk()} | {which: Deadly("", number)}
            source = store_on(disks["one"], path / "one", limits=SMALL)
            target = store_on(disks["two"], path / "two", limits=SMALL)
            try:
                source.move("alice", target)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        stores = {"one": MemoryStore(path / "one"), "two": MemoryStore(path / "two")}
        _ = "alice" in stores[("one", "two")[number % 2]]  # whoever asks first ends the move
        there = require_in_one(stores["one"], stores["two"], kept)
        places.add(there.path.name)
        with there.open("alice", HOST, write=True) as memory:
            HOST.write(memory, chunks(500, 2), "after")
            kept = contents(memory)
        if there is stores["one"]:
            there.move("alice", stores["two"])
            require_in_one(stores["one"], stores["two"], kept)
        assert names(stores["one"]) == []
        assert len(names(stores["two"])) == 1
        if not os.WIFSIGNALED(status):
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert places == {"one", "two"}
    assert number > 4


@pytest.mark.long
@pytest.mark.parametrize("which", ["one", "two"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_whatever_the_disk_refuses(tmp_path: Path, which: str, lasting: bool) -> None:
    number, total = 0, 1
    while number <= total:
        path = tmp_path / str(number)
        one, two, kept = pair(path)
        disk = Refusing(0, errno.EIO, lasting=lasting)
        store = store_on(disk, path / which, limits=SMALL)
        source, target = (store, two) if which == "one" else (one, store)
        disk.count, disk.number = 0, number
        refused = False
        try:
            source.move("alice", target)
        except StorageError:
            refused = True
        total = total if number else disk.count
        there = require_in_one(MemoryStore(path / "one"), MemoryStore(path / "two"), kept)
        assert refused or there.path.name == "two"
        number += 1
    assert total > 2


def test_a_writer_that_the_move_found_asleep_writes_to_neither(tmp_path: Path) -> None:
    disk = Interrupted()
    one = Owner(tmp_path / "one", "one", disk)
    memory = one.store.create("alice", HOST, seed=3)
    labelled(memory, "ab12", chunks(0, 3))
    kept = contents(memory)
    other, two = Owner(tmp_path / "one", "other"), MemoryStore(tmp_path / "two", limits=SMALL)

    def moves() -> None:
        with pytest.raises(MemoryBusyError):
            other.store.move("alice", two)
        other.clock.seconds += 1e5
        other.store.move("alice", two)
        two.move("alice", other.store)  # there and back again
        other.store.move("alice", two)

    disk.count, disk.left, disk.meanwhile = 0, 6, moves
    with pytest.raises((LeaseLostError, StorageError)):
        labelled(memory, "late", chunks(50, 2))
    assert memory.closed
    require_in_one(other.store, two, kept)
