"""A memory changes hands, and the writer before can do nothing to it, whenever it wakes up."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.clocks import set_clock
from tests.store.fakes import SMALL, FakeHost, contents, store_on
from tests.store.test_changes import everything_in, story
from tests.store.test_faults import Refusing
from tests.store.test_store import chunks
from tests.warm import python

from memplus.errors import LeaseLostError, MemoryBusyError, ReadOnlyMemoryError, StorageError
from memplus.memory.state import Memory
from memplus.store import Lease, MemoryStore, StoredMemory, taking
from memplus.store.disk import Disk
from memplus.store.journal import Journal
from memplus.store.manifest import Manifest

HOST = FakeHost()
ROOT = Path(__file__).parents[2]
TERM = 3600.0


@dataclass
class Clock:
    """Goes as the test says."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


class Owner:
    """One machine of those that share a directory."""

    def __init__(self, path: Path, name: str, disk: Disk | None = None) -> None:
        self.clock = Clock()
        lease = Lease(owner=name, seconds=TERM, margin=60, clock=self.clock)
        self.store = store_on(disk or Disk(), path, limits=SMALL, lease=lease)

    def open(self) -> StoredMemory:
        return self.store.open("alice", HOST, write=True)

    def take(self) -> StoredMemory:
        """Find that the writer was not heard of in its time, and take the memory."""
        with pytest.raises(MemoryBusyError):
            self.open()
        self.clock.seconds += TERM + 60
        return self.open()


class Interrupted(Disk):
    """At its n-th change stands still while something else happens."""

    def __init__(self) -> None:
        self.left = 0
        self.count = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self._one = threading.Lock()

    def step(self, call: str, path: Path) -> None:
        if threading.current_thread().name == "memplus-lease":
            return  # it renews by the clock on the wall, on a slow machine in the middle of a test
        with self._one:
            self.count += 1
            if self.count == self.left:
                self.meanwhile()


def labelled(memory: StoredMemory, label: str, parts: list[list[int]], source: str = "a") -> None:
    with memory.labelled(label):
        HOST.write(memory, parts, source, [1])


def manifest(store: MemoryStore) -> Manifest:
    return store.manifest("alice")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def one(path: Path) -> Owner:
    made = Owner(path, "one")
    made.store.create("alice", HOST, seed=9).close()
    return made


@pytest.fixture
def two(path: Path, one: Owner) -> Owner:
    return Owner(path, "two")


# Two owners ---------------------------------------------------------------------------------------


def test_a_memory_that_was_let_go_is_the_next_ones_at_once(one: Owner, two: Owner) -> None:
    plain = HOST.new_memory(seed=9)
    for turn in range(4):
        for owner in (one, two):
            with owner.open() as memory:
                for each in (memory, plain):
                    story(HOST, each, calls=3)
                assert contents(memory) == contents(plain)
                hold = manifest(owner.store).hold
                assert hold is not None
                assert (hold.owner, hold.held) == (owner.store._holder.lease.owner, True)  # type: ignore[union-attr]
            hold = manifest(owner.store).hold
            assert hold is not None
            assert not hold.held
            assert hold.epoch == 2 * turn + (2 if owner is one else 3)
            assert hold.sequence > 4 * hold.epoch
    assert one.store.verify("alice")
    with two.store.open("alice", HOST) as reader:
        assert contents(reader) == contents(plain)


def test_a_writer_that_lives_keeps_its_memory(one: Owner, two: Owner) -> None:
    with one.open() as memory:
        for _ in range(5):
            with pytest.raises(MemoryBusyError):
                two.store.open("alice", HOST, write=True, wait=0.02)
            with pytest.raises(MemoryBusyError):
                two.store.delete("alice")
            with pytest.raises(MemoryBusyError):
                two.store.rollback("alice", 0)
            two.clock.seconds += TERM
            one.store._holder._renew()  # type: ignore[union-attr]
        labelled(memory, "ab12", chunks(0, 3))
        two.store.open("alice", HOST).close()
    assert two.store.has_label("alice", "ab12")


def test_another_handle_of_the_same_process_waits_its_turn(one: Owner) -> None:
    first = one.open()
    with pytest.raises(MemoryBusyError):
        one.open()
    threading.Timer(0.1, first.close).start()
    with one.store.open("alice", HOST, write=True, wait=60) as second:
        labelled(second, "ab12", chunks(0, 1))


def test_after_its_time_and_the_margin_a_memory_is_taken(one: Owner, two: Owner) -> None:
    first = one.open()
    labelled(first, "ab12", chunks(0, 3))
    kept = contents(first)
    with pytest.raises(MemoryBusyError):
        two.open()
    two.clock.seconds += TERM + 59
    with pytest.raises(MemoryBusyError):
        two.open()
    two.clock.seconds += 1
    with two.open() as second:
        assert contents(second) == kept
        with pytest.raises(LeaseLostError, match="'alice' was taken over"):
            labelled(first, "cd34", chunks(50, 1))
        assert first.closed
        with pytest.raises(ReadOnlyMemoryError):
            first.texts()
        first.close()
        labelled(second, "ef56", chunks(90, 1))
        now = contents(second)
    for label, there in (("ab12", True), ("cd34", False), ("ef56", True)):
        assert one.store.has_label("alice", label) is there
    with one.open() as again:
        assert contents(again) == now
    two.store.verify("alice")


def test_a_process_started_again_under_its_name_has_its_memories_at_once(path: Path) -> None:
    one = Owner(path, "one")
    memory = one.store.create("alice", HOST, seed=9)
    labelled(memory, "ab12", chunks(0, 3))
    again = Owner(path, "one")
    with again.open() as second:
        assert contents(second) == contents(memory)
        with pytest.raises(LeaseLostError):
            labelled(memory, "cd34", chunks(9, 1))


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_no_machines_time_of_day_counts(
    one: Owner, two: Owner, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    with one.open() as first:
        with pytest.raises(MemoryBusyError):
            two.open()
        real = time.time
        set_clock(monkeypatch, lambda: real() + jump)
        with pytest.raises(MemoryBusyError):
            two.open()
        labelled(first, "ab12", chunks(0, 1))
    with two.open() as second:
        assert second.has_label("ab12")
        labelled(second, "cd34", chunks(9, 1))


def test_a_steady_clock_that_jumps_forwards_costs_the_writer_its_memory_and_nobody_a_text(
    one: Owner, two: Owner
) -> None:
    first = one.open()
    labelled(first, "ab12", chunks(0, 1))
    with two.take() as second, pytest.raises(LeaseLostError):  # take() lets its clock jump
        assert second.has_label("ab12")
        labelled(first, "cd34", chunks(9, 1))
    with one.open() as memory:
        assert not memory.has_label("cd34")


def test_a_steady_clock_that_jumps_back_costs_another_term(one: Owner, two: Owner) -> None:
    one.open()
    two.clock.seconds = 1e6
    with pytest.raises(MemoryBusyError):
        two.open()
    two.clock.seconds = 5.0
    two.take().close()


def test_standing_still_between_two_looks_is_no_proof_of_anything(one: Owner, two: Owner) -> None:
    first = one.open()
    with pytest.raises(MemoryBusyError):
        two.open()
    holder = two.store._holder
    assert holder is not None
    looked = holder._content

    def standing(owner: str) -> bytes:
        content = looked(owner)
        two.clock.seconds += 10 * TERM  # and the other one renewed its lease meanwhile
        return content

    holder._content = standing  # type: ignore[method-assign]
    with pytest.raises(MemoryBusyError):
        two.open()
    first.close()


# Paused anywhere ----------------------------------------------------------------------------------


def takes(two: Owner) -> None:
    two.take().close()


def takes_and_writes(two: Owner) -> None:
    with two.take() as memory:
        for turn in range(4):
            labelled(memory, f"two{turn}", chunks(5000 + 100 * turn, 2 + 5 * (turn == 1)), "b")


def takes_and_keeps(two: Owner) -> None:
    memory = two.take()
    labelled(memory, "two0", chunks(5000, 9), "b")


def takes_and_changes(two: Owner) -> None:
    with two.take() as memory:
        HOST.write(memory, chunks(5000, 5), "b")
        memory.forget(source="b", rebuild=True)
        HOST.write(memory, chunks(6000, 5), "c")
        memory.pack("int8")
        HOST.write(memory, chunks(7000, 5), "c")
        memory.rollback(len(memory.writes) - 5)


def deletes_and_makes_anew(two: Owner) -> None:
    with pytest.raises(MemoryBusyError):
        two.open()
    two.clock.seconds += TERM + 60
    two.store.delete("alice")
    with two.store.create("alice", HOST, seed=4) as memory:
        labelled(memory, "two0", chunks(5000, 5), "b")


class Asleep(Disk):
    """Stands still before its next manifest, all else of that commit done."""

    meanwhile: Callable[[], None] | None = None

    def step(self, call: str, path: Path) -> None:
        if call == "create" and path.name.startswith(".manifest") and self.meanwhile is not None:
            time.sleep(0.5)
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()


@pytest.mark.parametrize("seconds", [-9.0, 1.7e9], ids=["before 1970", "standing still"])
def test_a_writer_of_an_earlier_memory_of_that_name_is_told_apart_whatever_the_clock_says(
    path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    set_clock(monkeypatch, lambda: seconds)
    disk = Asleep()
    one, two = Owner(path, "one", disk), Owner(path, "two")
    first = one.store.create("alice", HOST)
    for turn in range(9):
        labelled(first, f"one{turn}", chunks(10 * turn, 1))
    last = first.keeper.manifest.hold
    assert last is not None
    wanted = last.sequence

    def meanwhile() -> None:
        deletes_and_makes_anew(two)
        with two.open() as memory:
            while (hold := memory.keeper.manifest.hold) and hold.sequence < wanted - 1:
                labelled(memory, f"next{hold.sequence}", chunks(7, 1), "b")

    disk.meanwhile = meanwhile
    with suppress(LeaseLostError):  # it may as well have been written before it was deleted
        labelled(first, "late", chunks(500, 1))
    assert two.store.manifest("alice").hold.sequence == wanted  # type: ignore[union-attr]
    assert not two.store.has_label("alice", "late")
    two.store.verify("alice")
    with two.open() as memory:
        labelled(memory, "last", chunks(8, 1), "b")


def test_a_copy_of_the_journal_that_a_kill_left_is_cleared_by_the_next_writer(
    path: Path, one: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    first = one.open()
    labelled(first, "ab12", chunks(4000, 3))
    (folder,) = (path / "memories").iterdir()
    there = len([*folder.glob("journal-*")])
    child = os.fork()
    if child == 0:
        killed = Owner(path, "killed")
        with suppress(MemoryBusyError):
            killed.open()
        killed.clock.seconds += TERM + 60
        monkeypatch.setattr(  # the copy is made, and being checked
            Journal, "check", lambda journal, upto: os.kill(os.getpid(), signal.SIGKILL)
        )
        with suppress(BaseException):
            killed.open()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not everything_in(tmp_path / "temporary")
    assert len([*folder.glob("journal-*")]) > there
    Owner(path, "two").take().close()
    assert len([*folder.glob("journal-*")]) == 1
    first.close()


MEANWHILE = [
    takes, takes_and_writes, takes_and_keeps, takes_and_changes, deletes_and_makes_anew,
]  # fmt: skip
WHERE = {"a short write": 0, "a checkpoint": 2}
"""Where the pauses begin, where not every place has its turn."""
WRITES: dict[str, Callable[[StoredMemory], Any]] = {
    "a short write": lambda m: labelled(m, "one", chunks(900, 1)),
    "a checkpoint": lambda m: labelled(m, "one", chunks(900, 14)),
}


def started(path: Path) -> tuple[Owner, Interrupted, StoredMemory]:
    disk = Interrupted()
    one = Owner(path, "one", disk)
    memory = one.store.create("alice", HOST, seed=9)
    for turn in range(3):
        HOST.write(memory, chunks(100 * turn, (1, 9, 2)[turn]), "a")
    return one, disk, memory


@pytest.mark.long
@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_writer_paused_anywhere_is_acknowledged_what_is_there_and_nothing_else(
    tmp_path: Path, write: str, meanwhile: Callable[[Owner], None], every: int
) -> None:
    number, total, outcomes = 0, 1, set()
    while number <= total:  # the first round, in which nothing happens, counts the changes
        path = tmp_path / str(number)
        one, disk, memory = started(path)
        two = Owner(path, "two")
        disk.count, disk.left, disk.meanwhile = 0, number, partial(meanwhile, two)
        acknowledged = True
        try:
            WRITES[write](memory)
        except LeaseLostError:
            acknowledged = False
        if number == 0:
            total = disk.count
        elif disk.count < number:  # what comes after the last step differs by a step or two
            break
        outcomes.add(acknowledged)
        deleted = meanwhile is deletes_and_makes_anew and number > 0
        if deleted:
            assert not one.store.has_label("alice", "one")
            assert one.store.has_label("alice", "two0")
        else:
            assert one.store.has_label("alice", "one") is acknowledged, number
        one.store.verify("alice")
        # The paused one goes on in every way it can, and the new one does not notice.
        with two.store.open("alice", HOST) as reader:
            there = contents(reader)
        if number and not memory.closed:
            with pytest.raises(LeaseLostError):
                labelled(memory, "late", chunks(1, 1))
        memory.close()
        with two.store.open("alice", HOST) as reader:
            assert contents(reader) == there
        assert two.store._holder is not None
        if not two.store._holder.holds("alice"):
            with Owner(path, "three").open() as third:
                assert contents(third) == there
                labelled(third, "three", chunks(40, 12))
        two.store.verify("alice")
        number += every if number else 1 + WHERE[write] % every
    assert outcomes == {True, False}
    assert total > 10


@pytest.mark.parametrize("change", ["forget", "rebuild", "rollback", "pack", "close"])
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_other_changes_of_a_paused_writer_come_to_nothing_or_are_whole(
    tmp_path: Path, change: str, every: int
) -> None:
    act: dict[str, Callable[[StoredMemory], Any]] = {
        "forget": lambda m: m.forget(source="b"),
        "rebuild": lambda m: m.forget(source="b", rebuild=True),
        "rollback": lambda m: m.rollback(1),
        "pack": lambda m: m.pack("int8"),
        "close": lambda m: m.close(),
    }
    number, total = 0, 1
    while number <= total:
        path = tmp_path / str(number)
        _, disk, memory = started(path)
        HOST.write(memory, chunks(3000, 2), "b")
        before = contents(memory)
        two, seen = Owner(path, "two"), []

        def meanwhile(two: Owner = two, seen: list[Any] = seen) -> None:
            second = two.take() if manifest(two.store).hold.held else two.open()  # type: ignore[union-attr]
            with second:
                seen.append(contents(second))
                HOST.write(second, chunks(5000, 3), "c")
                seen.append(contents(second))

        disk.count, disk.left, disk.meanwhile = 0, number, meanwhile
        lost = False
        try:
            act[change](memory)
        except LeaseLostError:
            lost = True
        if number == 0:
            total, after = disk.count, before if change == "close" else contents(memory)
            memory.close()
        elif not seen:
            break
        else:
            assert seen[0] == (before if lost else after), number
            memory.close()
            with two.store.open("alice", HOST) as reader:
                assert contents(reader) == seen[1]
            two.store.verify("alice")
        number += every if number and change != "close" else 1
    assert total > 3


@pytest.mark.parametrize("point", range(1, 40, 2))
def test_a_writer_paused_while_it_takes_a_memory_does_no_harm_to_the_next(
    path: Path, one: Owner, point: int
) -> None:
    labelled(one.open(), "one", chunks(0, 9))  # and is never heard of again
    disk = Interrupted()
    two, three = Owner(path, "two", disk), Owner(path, "three")
    with pytest.raises(MemoryBusyError):
        two.open()
    two.clock.seconds += 2 * TERM
    written: list[Any] = []

    def meanwhile() -> None:
        with three.take() as memory:
            labelled(memory, "three", chunks(50, 9))
            written.append(contents(memory))

    disk.count, disk.left, disk.meanwhile = 0, point, meanwhile
    try:
        memory = two.open()
    except MemoryBusyError:
        memory = None
    if memory is not None and written and not memory.closed:
        if memory.has_label("three"):
            memory.close()
        else:
            with pytest.raises(LeaseLostError):
                labelled(memory, "two", chunks(70, 2))
    if written:
        with three.store.open("alice", HOST) as reader:
            assert contents(reader) == written[0]
        three.store.verify("alice")
    assert one.store.has_label("alice", "one")


@pytest.mark.parametrize("meanwhile", [takes, takes_and_writes, takes_and_keeps, takes_and_changes])
def test_the_manifest_of_a_replaced_writer_finds_its_name_taken_for_ever(
    path: Path, one: Owner, two: Owner, meanwhile: Callable[[Owner], None]
) -> None:
    memory = one.open()
    labelled(memory, "one", chunks(0, 2))
    last = memory.keeper.manifest
    assert last.hold is not None
    late = replace(last, hold=last.hold.next(), writes=77)
    meanwhile(two)
    for _ in range(3):
        with pytest.raises(LeaseLostError):  # whatever else would have stopped it
            late.save(memory.keeper.folder.path, Disk())
        assert manifest(two.store).writes != 77
        if two.store._holder is not None and not two.store._holder.holds("alice"):
            with Owner(path, "three").open() as third:
                labelled(third, "three", chunks(40, 2))


@pytest.mark.parametrize("let_go", [True, False])
def test_a_writer_that_claims_a_memory_long_after_it_looked_gets_nothing(
    path: Path, one: Owner, let_go: bool
) -> None:
    first = one.open()
    labelled(first, "one", chunks(0, 2))
    if let_go:
        first.close()
    disk = Interrupted()
    two, three = Owner(path, "two", disk), Owner(path, "three")
    if not let_go:
        with pytest.raises(MemoryBusyError):
            two.open()
        two.clock.seconds += 2 * TERM
    claims: list[str] = []

    def goes_on() -> None:  # so that the name that two is about to claim was taken and given up
        claims.append(manifest(one.store).place)
        memory = three.open() if let_go else first
        for turn in range(5):
            HOST.write(memory, chunks(50 + turn, 1), "a")
        claims.append(manifest(one.store).place)
        if let_go:
            memory.close()

    step = disk.step

    def stepping(call: str, where: Path) -> None:
        if call == "link" and not claims:
            goes_on()
        step(call, where)

    disk.step = stepping  # type: ignore[method-assign]
    try:
        memory: StoredMemory | None = two.open()
    except MemoryBusyError:
        memory = None
    assert len(set(claims)) == 2
    assert (memory is not None) is let_go  # it looked again, and found the memory let go again
    with two.store.open("alice", HOST) as reader:
        assert len(reader.writes) == 7
    if memory is not None:
        assert len(memory.writes) == 7
        memory.close()
    else:
        labelled(first, "more", chunks(90, 1))  # it lives, and nobody has taken anything from it
    two.store.verify("alice")


def test_a_paused_writer_of_the_background_is_told_at_its_next_call(path: Path) -> None:
    lease = Lease(owner="one", seconds=TERM)
    store = MemoryStore(path, limits=SMALL, lease=lease, durability="relaxed", window=0.05)
    memory = store.create("alice", HOST, seed=9)
    memory.flush()
    two = Owner(path, "two")
    second = two.take()
    disk = memory.keeper.folder.disk
    memory.keeper.folder.disk = Disk()
    lost, type(memory.keeper).lost = type(memory.keeper).lost, property(lambda self: False)  # type: ignore[assignment]
    try:
        HOST.write(memory, chunks(0, 1), "a")  # not yet known to be lost
    finally:
        type(memory.keeper).lost = lost  # type: ignore[method-assign]
    memory.keeper.folder.disk = disk
    until = time.monotonic() + 60
    while memory.committing.refused is None and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(LeaseLostError):
        HOST.write(memory, chunks(9, 1), "a")
    assert memory.closed
    second.close()
    assert manifest(two.store).writes == 0


# Files --------------------------------------------------------------------------------------------


def test_a_store_without_lease_has_the_files_that_it_always_had(path: Path) -> None:
    store = MemoryStore(path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
    (folder,) = (path / "memories").iterdir()
    assert (folder / "manifest").read_bytes().startswith(b"memplus-memory 5 ")
    assert b"hold" not in (folder / "manifest").read_bytes()
    kinds = {file.name.split("-")[0] for file in folder.iterdir()}
    assert kinds == {"manifest", "segment", "snapshot", "log", "journal"}
    assert sorted(one.name for one in path.iterdir()) == ["locks", "memories", "store"]


def test_a_memory_of_one_machine_becomes_one_of_several(path: Path) -> None:
    store = MemoryStore(path, limits=SMALL)
    plain = HOST.new_memory(seed=9)
    with store.create("alice", HOST, seed=9) as memory:
        for each in (memory, plain):
            story(HOST, each)
        two = Owner(path, "two")
        with pytest.raises(MemoryBusyError):  # it is held by a lock
            two.open()
    with two.open() as memory:
        assert contents(memory) == contents(plain)
        for each in (memory, plain):
            story(HOST, each)
        assert contents(memory) == contents(plain)
        assert memory.history()
    # Whoever opens the directory now holds leases, too, also without asking for it.
    with MemoryStore.existing(path).open("alice", HOST, write=True) as memory:
        assert contents(memory) == contents(plain)
        with pytest.raises(MemoryBusyError):
            two.open()
    (folder,) = (path / "memories").iterdir()
    assert (folder / "manifest").read_bytes().startswith(b"memplus-memory 5 ")
    two.store.fork("alice", "bob")
    two.store.export("alice", path.parent / "a.zip")
    two.store.import_memory(path.parent / "a.zip", "carol")
    elsewhere = MemoryStore(path.parent / "t")
    elsewhere.import_memory(path.parent / "a.zip")
    for found in (two.store, elsewhere):
        for name in found:
            with found.open(name, HOST, write=True) as memory:
                assert contents(memory) == contents(plain)
            found.verify(name)
    assert elsewhere.manifest("alice").hold is None


def test_nothing_is_left_of_what_is_forgotten_or_of_earlier_writers(
    one: Owner, two: Owner, path: Path
) -> None:
    memory = one.open()
    HOST.write(memory, [[4321] * 4] * 9, "secret")
    HOST.write(memory, chunks(0, 3), "a")
    second = two.take()
    second.forget(source="secret")
    assert b"word4321" not in everything_in(path)
    second.close()
    (folder,) = (path / "memories").iterdir()
    named = manifest(one.store).files() | {"manifest"}
    chain = [file for file in folder.iterdir() if file.name not in named]
    # The end of the chain, and the names that others may look for if they wake up.
    assert sum(file.stat().st_size > 0 for file in chain) == 2
    with pytest.raises(LeaseLostError):
        HOST.write(memory, chunks(9, 1), "secret")
    for turn in range(5):
        with (one, two)[turn % 2].open() as third:
            HOST.write(third, chunks(turn, 1), "a")
    left = {file.name for file in folder.iterdir()} - manifest(one.store).files() - {"manifest"}
    assert len(left) == len(chain)  # nothing more where writers let go
    assert b"word4321" not in everything_in(path)


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_whatever_the_disk_refuses_a_taken_memory_is_whole(
    tmp_path: Path, lasting: bool, every: int
) -> None:
    number, total = 0, 1
    while number <= total:
        path = tmp_path / str(number)
        one = Owner(path, "one")
        memory = one.store.create("alice", HOST, seed=9)
        labelled(memory, "one", chunks(0, 9))
        kept = contents(memory)
        disk = Refusing(0, errno.ENOSPC, lasting=lasting)
        two = Owner(path, "two", disk)
        with pytest.raises(MemoryBusyError):
            two.open()
        two.clock.seconds += 2 * TERM
        disk.count, disk.number = 0, number
        refused = False
        try:
            with two.open() as second:
                labelled(second, "two", chunks(50, 2))
        except StorageError:
            refused = True
        if number == 0:
            total = disk.count
        three = Owner(path, "one")
        with three.store.open("alice", HOST) as reader:
            label = reader.has_label("two")
            assert label or contents(reader) == kept
            assert refused or label
        try:
            third = three.open()
        except MemoryBusyError:
            third = three.take()
        with third:
            labelled(third, "three", chunks(90, 2))
        three.store.verify("alice")
        number += every if number else 1 + lasting
    assert total > 10


# Real processes -----------------------------------------------------------------------------------

PROCESS = """
import os, signal, sys
from pathlib import Path
from tests.store.fakes import SMALL, FakeHost, store_on
from tests.store.test_store import chunks
from memplus.errors import LeaseLostError
from memplus.store import Lease
from memplus.store.disk import Disk

class Stopping(Disk):
    armed = ""
    def step(self, call, path):
        kind = path.name.lstrip(".").partition("-")[0]
        if self.armed == f"{call} {kind}":
            self.armed = ""
            os.kill(os.getpid(), getattr(signal, sys.argv[4]))

disk = Stopping()
lease = Lease(owner=sys.argv[2], seconds=float(sys.argv[5]), margin=0.1)
store = store_on(disk, sys.argv[1], limits=SMALL, lease=lease)
host = FakeHost()
memory = store.open("alice", host, write=True)
with memory.labelled("before"):
    host.write(memory, chunks(0, 5), "a")
print("held", flush=True)
sys.stdin.readline()
disk.armed = sys.argv[3]
try:
    with memory.labelled("paused"):
        host.write(memory, chunks(50, int(sys.argv[6])), "a")
    print("acknowledged", flush=True)
except LeaseLostError:
    print("lost", flush=True)
memory.close()
"""


@contextmanager
def process(path: Path, point: str, how: str, seconds: float, parts: int = 2) -> Iterator[Any]:
    command = [*python(), "-c", PROCESS, str(path), "one", point, how, str(seconds)]
    with subprocess.Popen(
        [*command, str(parts)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as made:
        try:
            assert made.stdout is not None
            assert made.stdout.readline() == "held\n"
            yield made
        finally:
            made.kill()


def plain_after(*texts: list[list[int]]) -> Memory:
    memory = HOST.new_memory(seed=9)
    for parts in texts:
        HOST.write(memory, parts, "a")
    return memory


@pytest.mark.parametrize(
    ("point", "parts"),
    [
        *(("write log", 2), ("journal write journal", 2), ("journal commit journal", 2)),
        *(("fsync manifest", 2), ("link manifest", 2), ("write snapshot", 40)),
    ],
)
def test_a_stopped_process_that_goes_on_after_its_lease_commits_nothing(
    path: Path, one: Owner, point: str, parts: int
) -> None:
    store = MemoryStore(path, limits=SMALL, lease=Lease(owner="two", seconds=0.3, margin=0.1))
    with process(path, point, "SIGSTOP", 0.3, parts) as other:
        other.stdin.write("\n")
        other.stdin.flush()
        _, status = os.waitpid(other.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        with store.open("alice", HOST, write=True, wait=60) as memory:
            assert contents(memory) == contents(plain_after(chunks(0, 5)))
            with memory.labelled("two"):
                HOST.write(memory, chunks(90, 3), "a")
            os.kill(other.pid, signal.SIGCONT)
            assert other.stdout.readline() == "lost\n"
            HOST.write(memory, chunks(95, 3), "a")
        other.communicate("")
    expected = contents(plain_after(chunks(0, 5), chunks(90, 3), chunks(95, 3)))
    with store.open("alice", HOST) as reader:
        assert contents(reader) == expected
        assert reader.has_label("before")
        assert reader.has_label("two")
        assert not reader.has_label("paused")
        assert reader.texts().keys() == {record.id for record in reader.writes}
    store.verify("alice")


@pytest.mark.parametrize("point", ["write log", "journal commit journal", "link manifest"])
def test_a_process_killed_in_the_middle_of_a_write_is_followed_by_the_next(
    path: Path, one: Owner, point: str
) -> None:
    store = MemoryStore(path, limits=SMALL, lease=Lease(owner="two", seconds=0.3, margin=0.1))
    with process(path, point, "SIGKILL", 0.3) as other:
        other.communicate("\n")
        with pytest.raises(MemoryBusyError):
            store.open("alice", HOST, write=True)
        with store.open("alice", HOST, write=True, wait=60) as memory:
            assert contents(memory) == contents(plain_after(chunks(0, 5)))
            with memory.labelled("paused"):
                HOST.write(memory, chunks(50, 2), "a")
    with store.open("alice", HOST) as reader:
        assert contents(reader) == contents(plain_after(chunks(0, 5), chunks(50, 2)))
    store.verify("alice")
    # What the dead one told of itself is gone, and so is what this one told.
    assert not list((path / "owners").iterdir())


def test_what_sqlite_takes_away_meanwhile_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journal").write_bytes(b"1")
    monkeypatch.setattr(taking, "unapplied", lambda path: [tmp_path / "journal-wal"])
    assert [name for name, *_ in taking._stamps(tmp_path / "journal")] == ["journal"]
