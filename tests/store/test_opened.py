"""A memory is read from the disk again, and belongs to the weights that it was opened with."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tests.fakes import make_mplus, some_ids
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_changes import story
from tests.store.test_faults import Refusing

from memplus import MPlus
from memplus.errors import (
    ClosedMemoryError,
    CorruptMemoryError,
    LeaseLostError,
    MemoryMismatchError,
    MemplusError,
    StorageError,
    UnknownMemoryError,
    UsageError,
)
from memplus.store import Lease, MemoryStore, StoredMemory
from memplus.store.manifest import Manifest

HOST = FakeHost()
CHUNK = [[1, 2, 3, 4]]


def relaxed(path: Path) -> MemoryStore:
    return MemoryStore(path, durability="relaxed", window=60)


# What reload reads ------------------------------------------------------------------------------


def test_reloading_within_the_window_loses_nothing_that_was_written(tmp_path: Path) -> None:
    with relaxed(tmp_path).create("alice", HOST) as memory:
        HOST.write(memory, CHUNK, "a")
        memory.reload()
        assert [record.source for record in memory.writes] == ["a"]
        assert memory.committing._timer is None
        HOST.write(memory, CHUNK, "b")
        now = contents(memory)
    store = MemoryStore(tmp_path)
    with store.open("alice", HOST) as again:
        assert contents(again) == now
        assert [*again.texts()] == [1, 2]
    store.verify("alice")


@pytest.mark.parametrize("change", ["write", "checkpoint", "forget", "rollback"])
def test_a_reader_becomes_what_another_has_written_since(tmp_path: Path, change: str) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory, store.open("alice", HOST) as reader:
        story(HOST, memory, calls=5)
        reader.reload()
        assert contents(reader) == contents(memory)
        version = reader.version
        {
            "write": lambda: HOST.write(memory, CHUNK, "a"),
            "checkpoint": lambda: HOST.write(memory, CHUNK * 50, "a"),
            "forget": lambda: memory.forget(source="s1"),
            "rollback": lambda: memory.rollback(3),
        }[change]()
        reader.reload()
        assert contents(reader) == contents(memory)
        assert reader.texts() == memory.texts()
        assert reader.version > version


def test_a_reader_reads_again_what_changes_while_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory, store.open("alice", HOST) as reader:
        HOST.write(memory, CHUNK, "a")
        real = Manifest.load

        def load(folder: Path) -> Manifest:
            found = real(folder)
            monkeypatch.undo()
            memory.forget(source="a", rebuild=True)  # takes all files of that manifest away
            HOST.write(memory, CHUNK * 2, "b")
            return found

        monkeypatch.setattr(Manifest, "load", load)
        reader.reload()
        assert contents(reader) == contents(memory)


def test_what_cannot_be_read_again_is_told_and_the_memory_usable_or_closed(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, CHUNK, "a")
        now = contents(memory)
    reader, other = store.open("alice", HOST), store.open("alice", HOST)
    folder = reader.keeper.folder.path
    (log,) = folder.glob("log-*")
    content = log.read_bytes()
    log.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CorruptMemoryError):
        reader.reload()
    with pytest.raises(ClosedMemoryError):
        reader.reload()
    log.write_bytes(content)
    other.reload()
    store.delete("alice")
    with pytest.raises(UnknownMemoryError):
        other.reload()
    assert contents(other) == now
    store.create("alice", FakeHost(weights=2)).close()
    with pytest.raises(MemoryMismatchError):
        other.reload()
    assert contents(other) == now
    other.close()


def test_a_writer_that_was_replaced_is_told_so(tmp_path: Path) -> None:
    first = MemoryStore(tmp_path, limits=SMALL, lease=Lease("one"))
    second = MemoryStore(tmp_path, limits=SMALL, lease=Lease("one"))
    memory = first.create("alice", HOST)
    with second.open("alice", HOST, write=True):
        with pytest.raises(LeaseLostError):
            memory.reload()
        assert memory.closed


def test_nothing_is_reloaded_within_a_block(tmp_path: Path) -> None:
    with MemoryStore(tmp_path, limits=SMALL).create("alice", HOST) as memory:
        with memory.labelled("one"):
            HOST.write(memory, CHUNK, "a")
            with pytest.raises(UsageError, match="block"):
                memory.reload()
        assert len(memory.writes) == 1


# Whose weights ----------------------------------------------------------------------------------


@pytest.fixture
def model() -> MPlus:
    return make_mplus()


@contextmanager
def trained(model: MPlus) -> Iterator[None]:
    """A step of training, taken back at the end."""
    weight = model.model.lm_head.weight  # type: ignore[union-attr]
    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)  # type: ignore[operator]
    yield
    with torch.no_grad():
        weight.copy_(before)  # type: ignore[operator]


def refuses_all(model: MPlus, memory: StoredMemory) -> None:
    """Whatever would read the rows, or commit something under the old weights."""
    assert memory.stale
    uses: list[Callable[[], object]] = [
        lambda: model.write(memory, "More."),
        lambda: model.ask(memory, "Why?"),
        lambda: memory.rollback(0),
        lambda: memory.forget(write=1),
        lambda: memory.forget(write=[], rebuild=True),
        lambda: memory.pack("int8"),
        lambda: memory.labelled("one"),
        lambda: memory.reload(),
    ]
    for use in uses:
        with pytest.raises(MemoryMismatchError, match="weights"):
            use()


def test_other_weights_are_refused_after_a_reload_as_before(tmp_path: Path, model: MPlus) -> None:
    with MemoryStore(tmp_path).create("alice", model) as memory:
        model.write(memory, some_ids(30).tolist())
        commit = memory.keeper.manifest.commit
        with trained(model):
            refuses_all(model, memory)
            refuses_all(model, memory)
            assert memory.keeper.manifest.commit == commit
        memory.reload()  # by the weights that are its own
        model.ask(memory, "Why?")
        model.write(memory, "More.")


def test_other_weights_are_refused_after_a_refused_commit(tmp_path: Path, model: MPlus) -> None:
    with relaxed(tmp_path).create("alice", model) as memory:
        model.write(memory, some_ids(30).tolist())
        memory.flush()
        model.write(memory, some_ids(30).tolist())
        usual = memory.keeper.folder.disk
        memory.keeper.folder.disk = Refusing(1, errno.ENOSPC, lasting=True)
        memory.committing._commit_in_time()
        memory.keeper.folder.disk = usual
        with trained(model):
            with pytest.raises(StorageError, match="refused"):
                memory.flush()
            refuses_all(model, memory)
        # Its rows were made again by other weights: that the tag is the old one does not help.
        assert memory.stale


def test_rows_made_again_by_other_weights_stay_refused_when_the_weights_come_back(
    tmp_path: Path,
) -> None:
    host = FakeHost()
    with MemoryStore(tmp_path, limits=SMALL).create("alice", host) as memory:
        host.write(memory, CHUNK * 2, "a")
        now = contents(memory)
        host.weights, host.weights_version = 2, 1
        memory.committing._recover()
        assert contents(memory) != now
        host.weights, host.weights_version = 1, 0  # such as an adapter's being enabled again
        assert memory.stale
        with pytest.raises(MemoryMismatchError):
            host.write(memory, CHUNK, "b")
        memory.reload()
        assert contents(memory) == now
        host.write(memory, CHUNK, "b")


def test_other_weights_are_refused_by_a_memory_that_holds_nothing_yet(
    tmp_path: Path, model: MPlus
) -> None:
    store = MemoryStore(tmp_path)
    with store.create("alice", model) as memory:
        with trained(model):
            for use in (
                lambda: model.write(memory, "The gate is red.", flush=True),
                lambda: model.write(memory, "The gate is red."),
            ):
                with pytest.raises(MemoryMismatchError, match="weights"):
                    use()
        model.write(memory, "The gate is red.", flush=True)  # they are what they were
    with store.open("alice", model) as memory:
        assert memory.tokens


# What the callback of a write may do ------------------------------------------------------------


def commit_of(memory: StoredMemory) -> int:
    return Manifest.load(memory.keeper.folder.path).commit


@pytest.mark.parametrize("durability", ["full", "relaxed"])
@pytest.mark.parametrize("other_thread", [True, False])
def test_flushing_while_a_call_goes_on_makes_the_calls_before_it_last(
    tmp_path: Path, model: MPlus, durability: str, other_thread: bool
) -> None:
    store = MemoryStore(tmp_path, durability=durability, window=60)  # type: ignore[arg-type]
    with store.create("alice", model) as memory:
        first = commit_of(memory)
        model.write(memory, some_ids(25).tolist(), source="a")
        seen: list[tuple[int, int]] = []

        def progress(done: int, total: int) -> None:
            flushing = threading.Thread(target=memory.flush)
            if other_thread:
                flushing.start()
                flushing.join()
            else:
                memory.flush()
            found = Manifest.load(memory.keeper.folder.path)
            seen.append((found.commit, found.writes))

        model.write(memory, some_ids(45).tolist(), source="b", progress=progress)
        assert set(seen) == {(first + 1, 2)}
        assert len(seen) > 2
        memory.flush()
        assert commit_of(memory) == first + 2


def test_what_the_disk_refuses_while_a_call_goes_on_takes_no_half_of_it_back(
    tmp_path: Path, model: MPlus
) -> None:
    with relaxed(tmp_path).create("alice", model) as memory:
        model.write(memory, some_ids(25).tolist(), source="a")
        usual = memory.keeper.folder.disk
        told: list[str] = []

        def refuse(done: int, total: int) -> None:
            memory.keeper.folder.disk = Refusing(1, errno.ENOSPC, lasting=True)
            writes = len(memory.writes)
            with pytest.raises(StorageError) as caught:
                memory.flush()
            told.append(str(caught.value))
            memory.keeper.folder.disk = usual
            assert len(memory.writes) == writes

        with pytest.raises(StorageError):
            model.write(memory, some_ids(45).tolist(), source="b", progress=refuse)
        assert len(told) > 2
        assert not memory.writes
        model.write(memory, some_ids(25).tolist(), source="c")
        memory.flush()
        assert [one.source for one in memory.texts().values()] == ["c", "c"]


def test_a_callback_neither_commits_half_of_its_call_nor_takes_it_back(
    tmp_path: Path, model: MPlus
) -> None:
    with MemoryStore(tmp_path).create("alice", model) as memory:
        first = commit_of(memory)
        uses: list[Callable[[], object]] = [
            memory.close,
            memory.reload,
            lambda: memory.rollback(0),
            lambda: memory.forget(write=1),
            lambda: memory.pack("int8"),
            lambda: memory.labelled("one"),
            lambda: memory.undivided(),
        ]
        refused: list[MemplusError] = []

        def progress(done: int, total: int) -> None:
            for use in uses:
                with pytest.raises(UsageError, match="not returned from") as caught:
                    use()
                refused.append(caught.value)
            assert commit_of(memory) == first

        model.write(memory, some_ids(45).tolist(), source="b", progress=progress)
        assert len(refused) > len(uses)
        assert commit_of(memory) == first + 1
        assert len(memory.texts()) == len(memory.writes)
