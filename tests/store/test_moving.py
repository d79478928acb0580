"""A move leaves the memory in one of two directories, whole, whatever ends it; never in both."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
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
from memplus.store.transit import TO, Note

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
    """What lies among a store's memories, but numbers of moves, which hold nothing."""
    found = [*(store.path / "memories").iterdir()]
    assert all(not one.stat().st_size for one in found if one.is_file())
    return [one.name for one in found if one.is_dir()]


def killed_at(number: int, path: Path, which: str) -> bool:
    """Whether a process was killed at that change of one directory's disk as it moved a memory."""
    child = os.fork()
    if child == 0:
        disks = {"one": Disk(), "two": Disk()} | {which: Deadly("", number)}
        source = store_on(disks["one"], path / "one", limits=SMALL)
        target = store_on(disks["two"], path / "two", limits=SMALL)
        try:
            source.move("alice", target)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


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


@pytest.mark.parametrize("both", [True, False], ids=["both have one", "it was moved meanwhile"])
def test_two_opposite_moves_do_not_wait_for_each_other(tmp_path: Path, *, both: bool) -> None:
    one, two, _ = pair(tmp_path)
    if both:
        two.create("alice", HOST).close()
    told: list[Exception] = []

    def move() -> None:
        try:
            one.move("alice", two, wait=None)
        except (MemoryExistsError, UnknownMemoryError) as error:
            told.append(error)

    moving = threading.Thread(target=move, daemon=True)
    if both:
        with two.open("alice", HOST, write=True):  # as the other move has it
            moving.start()
            moving.join(10)
            assert not moving.is_alive()
    else:
        with one.naming("alice"):
            moving.start()
            time.sleep(0.3)  # it has seen the memory, and waits for its lock
            aside = tmp_path / "one" / "memories"
            (folder,) = aside.iterdir()
            folder.rename(tmp_path / "two" / "memories" / folder.name)
        with two.naming("alice", 10):
            moving.join(10)
            assert not moving.is_alive()
    expected = MemoryExistsError if both else UnknownMemoryError
    assert [type(error) for error in told] == [expected]


def test_a_move_takes_no_copy_for_waste_whose_origin_is_out_of_reach(tmp_path: Path) -> None:
    one, two, kept = pair(tmp_path)
    one.move("alice", two)
    folder = two._directory.folder("alice")
    arriving = folder.with_name(f".arriving-{folder.name}")
    folder.rename(arriving)  # as if it had been cut short, and its origin were not mounted
    (arriving / "from").write_text('{"path": "/nowhere", "move": "1"}')
    with one.create("alice", HOST):
        pass
    with pytest.raises(StorageError, match="came from /nowhere"):
        one.move("alice", two)
    one.delete("alice")
    arriving.rename(folder)
    assert require_in_one(one, two, kept) is two


def test_a_move_that_nothing_cuts_short_leaves_nothing(tmp_path: Path) -> None:
    one, two, _ = pair(tmp_path)
    one.move("alice", two)
    (folder,) = (two.path / "memories").iterdir()
    assert list((one.path / "memories").iterdir()) == []
    assert {"from", "moved"}.isdisjoint(os.listdir(folder))


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
        killed = killed_at(number, path, which)
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
        if not killed:
            break
    assert places == {"one", "two"}
    assert number > 4


@pytest.mark.long
@pytest.mark.parametrize("which", ["one", "two"])
@pytest.mark.parametrize("change", ["delete", "write", "roll back"])
def test_wherever_it_was_killed_a_change_of_the_memory_leaves_nothing_of_it_elsewhere(
    tmp_path: Path, which: str, change: str
) -> None:
    number, killed, places = 0, True, set()
    while killed:
        number += 1
        path = tmp_path / str(number)
        pair(path)
        killed = killed_at(number, path, which)
        stores = {name: MemoryStore(path / name, limits=SMALL) for name in ("two", "one")}
        # Asked of the new place first, and of the old one only where it is not there.
        there = next(name for name, store in stores.items() if "alice" in store)
        places.add(there)
        if change == "delete":
            stores[there].delete("alice")
        elif change == "roll back":
            stores[there].rollback("alice", stores[there].history("alice")[0].writes)
        else:
            with stores[there].open("alice", HOST, write=True) as memory:
                HOST.write(memory, chunks(500, 2), "after")
        (other,) = stores.keys() - {there}
        left = [one for one in names(stores[other]) if not one.startswith((".gone", ".new"))]
        if there == "two":
            assert left == []
        if change == "delete":
            stores["one"].create("alice", HOST).close()
            stores["one"].move("alice", stores["two"])
            assert [*stores["one"]] == []
            assert [*stores["two"]] == ["alice"]
        for name in stores:  # whoever opens a directory clears what is left
            MemoryStore(path / name)
            assert all(not one.startswith(".") for one in names(stores[name]))
    assert places == {"one", "two"}


def test_the_copy_of_a_move_at_work_is_not_cleared_away(tmp_path: Path) -> None:
    one, two, kept = pair(tmp_path)
    seen: list[list[str]] = []

    class Opening(Disk):
        def step(self, call: str, path: Path) -> None:
            if call == "rename" and path.name.startswith(".moved-"):
                seen.append(names(MemoryStore(two.path)))

    store_on(Opening(), one.path, limits=SMALL).move("alice", two)
    assert [[name.startswith(".arriving-") for name in there] for there in seen] == [[True]]
    assert require_in_one(one, two, kept) is two


def test_one_that_went_out_of_reach_keeps_others_of_its_name_from_going(tmp_path: Path) -> None:
    one, two, _ = pair(tmp_path)
    one.move("alice", two)
    folder = two._directory.folder("alice")
    moved = one.path / "memories" / f".moved-{folder.name}"
    moved.mkdir()
    Note(str(tmp_path / "not mounted"), "1", str(one.path)).save(moved, TO, Disk())
    with one.create("alice", HOST):
        pass
    two.delete("alice")
    with pytest.raises(StorageError, match="not mounted"):
        one.move("alice", two)
    assert [*one] == ["alice"]


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


class Hooked(Disk):
    """Does something once, before a rename to a name that begins so."""

    def __init__(self, begins: str, act: Callable[[], object]) -> None:
        self.begins = begins
        self.act: Callable[[], object] | None = act

    def step(self, call: str, path: Path) -> None:
        if call == "rename" and path.name.startswith(self.begins) and self.act is not None:
            act, self.act = self.act, None
            act()


@pytest.mark.parametrize("begins", [".arriving-", "moved", ".moved-"])
def test_a_memory_that_another_writer_took_over_meanwhile_stays(
    tmp_path: Path, begins: str
) -> None:
    other = Owner(tmp_path / "one", "other")

    def takes_over() -> None:
        with pytest.raises(MemoryBusyError):
            other.open()
        other.clock.seconds += 1e5
        with other.open() as memory:
            labelled(memory, "late", chunks(50, 2))

    disk = Hooked(begins, takes_over)
    one = Owner(tmp_path / "one", "one", disk)
    with one.store.create("alice", HOST, seed=3) as memory:
        labelled(memory, "ab12", chunks(0, 3))
    two = store_on(disk, tmp_path / "two", limits=SMALL)
    with pytest.raises((LeaseLostError, StorageError)):
        one.store.move("alice", two)
    assert disk.act is None
    assert ([*other.store], [*two], names(two)) == (["alice"], [], [])
    assert other.store.has_label("alice", "late")
    assert other.store.verify("alice")
    other.store.move("alice", two)
    assert two.has_label("alice", "late")


def test_a_memory_whose_name_another_machine_takes_meanwhile_stays(tmp_path: Path) -> None:
    one, two, kept = pair(tmp_path)
    elsewhere = MemoryStore(tmp_path / "elsewhere", limits=SMALL)
    elsewhere.create("alice", HOST, seed=9).close()

    def makes() -> None:  # as another machine, of which no lock is seen
        folder = elsewhere._directory.folder("alice")
        folder.rename(two._directory.folder("alice"))

    with pytest.raises(MemoryExistsError):
        store_on(Hooked(".moved-", makes), one.path, limits=SMALL).move("alice", two)
    assert len(names(two)) == len(names(one)) == 1
    with one.open("alice", HOST, write=True) as memory:
        assert contents(memory) == kept
    two.delete("alice")
    one.move("alice", two)
    assert require_in_one(one, two, kept) is two
