"""Texts and labels of commits: exactly once, whatever ends the writer."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.store.crashing import HOST, plan
from tests.store.fakes import SMALL, contents
from tests.store.test_changes import everything_in
from tests.store.test_crash import Server
from tests.store.test_faults import Refusing
from tests.store.test_store import chunks

from memplus.errors import ConfigError, ReadOnlyMemoryError, StorageError, UsageError
from memplus.memory.state import Memory
from memplus.store import MemoryStore, StoredMemory

CHUNK = [[1, 2, 3, 4]]


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return MemoryStore(tmp_path / "s", limits=SMALL)


@pytest.fixture
def memory(store: MemoryStore) -> Iterator[StoredMemory]:
    with store.create("alice", HOST, seed=9) as made:
        yield made


def labelled(memory: StoredMemory, label: str, source: str = "a") -> None:
    with memory.labelled(label):
        HOST.write(memory, CHUNK, source)


def test_texts_are_asked_for_by_numbers(store: MemoryStore) -> None:
    with store.create("alice", HOST) as memory:
        HOST.write(memory, CHUNK, "a")
        assert list(memory.texts([1, 7])) == [1]
        for named in ("1", [None], [True]):
            with pytest.raises(UsageError, match="A write is named by its number, not by"):
                memory.texts(named)  # type: ignore[arg-type]


def test_a_block_is_one_commit_with_its_label(store: MemoryStore, memory: StoredMemory) -> None:
    with memory.labelled("ab12"):
        HOST.write(memory, CHUNK, "a")
        HOST.write(memory, CHUNK, "b", [7])
        memory.flush()
        assert not memory.has_label("ab12")
        assert store.manifest("alice").writes == 0
    assert memory.has_label("ab12")
    HOST.write(memory, CHUNK, "c")
    assert [one.what for one in memory.history()] == ["create", "write ab12", "write"]
    assert [one.writes for one in memory.history()] == [0, 2, 3]
    assert not memory.has_label("ab1")
    assert store.has_label("alice", "ab12")
    with store.open("alice", HOST) as reader:
        assert reader.has_label("ab12")
        assert not reader.has_label("cd34")
        labelled(memory, "cd34")
        assert not reader.has_label("cd34")  # it sees the state in which it was opened


def test_a_block_that_raises_leaves_nothing(store: MemoryStore, memory: StoredMemory) -> None:
    HOST.write(memory, CHUNK, "a", [5])
    kept = contents(memory)
    with pytest.raises(ZeroDivisionError), memory.labelled("ab12"):
        HOST.write(memory, chunks(50, 30), "b")  # some of its rows are in a segment by then
        raise ZeroDivisionError
    assert contents(memory) == kept
    assert not memory.has_label("ab12")
    labelled(memory, "ab12")
    now = contents(memory)
    with store.open("alice", HOST) as again:
        assert contents(again) == now
    store.verify("alice")


def test_a_block_without_writes_commits_its_label_alone(memory: StoredMemory) -> None:
    kept = contents(memory)
    with memory.labelled("nothing"):
        pass
    assert memory.has_label("nothing")
    assert contents(memory) == kept


def test_a_labelled_block_lasts_at_its_end_whatever_the_durability(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, durability="relaxed", window=60)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, CHUNK, "before")
        labelled(memory, "ab12")
        HOST.write(memory, CHUNK, "after")
        assert store.has_label("alice", "ab12")
        assert store.manifest("alice").writes == 2
        with pytest.raises(ZeroDivisionError), memory.labelled("cd34"):
            raise ZeroDivisionError
        assert store.manifest("alice").writes == 3  # what came before the block is no part of it


def test_what_other_threads_write_meanwhile_belongs_to_the_block(
    store: MemoryStore, memory: StoredMemory
) -> None:
    with memory.labelled("ab12"):
        other = threading.Thread(target=lambda: HOST.write(memory, CHUNK, "a"))
        other.start()
        other.join()
        assert store.manifest("alice").writes == 0
    assert store.manifest("alice").writes == 1


OTHERS: dict[str, Callable[[StoredMemory], Any]] = {
    "forget": lambda m: m.forget(source="a"),
    "rebuild": lambda m: m.forget(source="a", rebuild=True),
    "rollback": lambda m: m.rollback(0),
    "pack": lambda m: m.pack("int8"),
    "another block": lambda m: m.labelled("cd34").__enter__(),
}


@pytest.mark.parametrize("change", OTHERS)
def test_changes_of_their_own_are_refused_in_a_block(memory: StoredMemory, change: str) -> None:
    labelled(memory, "first")
    with memory.labelled("ab12"):
        HOST.write(memory, CHUNK, "b")
        with pytest.raises(UsageError, match="has not ended"):
            OTHERS[change](memory)
    assert memory.has_label("ab12")
    assert not memory.has_label("cd34")
    assert len(memory.writes) == 2


def test_a_memory_closed_in_a_block_keeps_nothing_of_it(store: MemoryStore) -> None:
    memory = store.create("alice", HOST)
    with pytest.raises(ReadOnlyMemoryError, match="before the block"), memory.labelled("ab12"):
        HOST.write(memory, CHUNK, "a")
        memory.close()
    assert not store.has_label("alice", "ab12")
    memory = store.open("alice", HOST, write=True)
    with pytest.raises(ZeroDivisionError), memory.labelled("ab12"):
        HOST.write(memory, CHUNK, "a")
        memory.close()
        raise ZeroDivisionError
    assert memory.closed
    with store.open("alice", HOST, write=True) as again:
        assert not again.writes


def test_no_label_is_taken_for_another(memory: StoredMemory) -> None:
    for wrong in ("", "a b", "a\nb", "\udce9", "x" * 201, " ", "a\u00a0b"):
        with pytest.raises(ConfigError, match="a label has"):
            memory.labelled(wrong)
        with pytest.raises(ConfigError, match="a label has"):
            memory.has_label(wrong)
    labelled(memory, "%")
    assert not memory.has_label("a")
    labelled(memory, "é" * 200)
    assert memory.has_label("é" * 200)


def test_a_reader_takes_no_label(store: MemoryStore, memory: StoredMemory) -> None:
    memory.flush()
    with store.open("alice", HOST) as reader, pytest.raises(ReadOnlyMemoryError):
        reader.labelled("ab12")


KEEPING: dict[str, Callable[[StoredMemory], Any]] = {
    "checkpoints": lambda m: [HOST.write(m, chunks(100 * i, 12), "b") for i in range(9)],
    "forget": lambda m: m.forget(source="a"),
    "rebuild": lambda m: m.forget(source="a", rebuild=True),
    "pack": lambda m: m.pack("int4"),
    "going back to a later state": lambda m: (HOST.write(m, CHUNK), m.rollback(1)),
}


@pytest.mark.parametrize("change", KEEPING)
def test_labels_stay(store: MemoryStore, memory: StoredMemory, tmp_path: Path, change: str) -> None:
    labelled(memory, "ab12")
    KEEPING[change](memory)
    labelled(memory, "cd34", "c")
    store.fork("alice", "bob")
    store.export("alice", tmp_path / "a.zip")
    store.import_memory(tmp_path / "a.zip", "carol")
    labelled(memory, "ef56")
    for name in ("alice", "bob", "carol"):
        assert store.has_label(name, "ab12")
        assert store.has_label(name, "cd34")
        assert store.has_label(name, "ef56") == (name == "alice")
        store.verify(name)


def test_what_is_forgotten_for_good_leaves_its_label_and_no_text(
    store: MemoryStore, memory: StoredMemory, tmp_path: Path
) -> None:
    with memory.labelled("ab12"):
        HOST.write(memory, [[4321] * 4], "secret")
    HOST.write(memory, CHUNK, "a")
    memory.forget(source="secret", rebuild=True)
    memory.close()
    assert b"word4321" not in everything_in(tmp_path)
    assert store.has_label("alice", "ab12")
    with store.open("alice", HOST, write=True) as again:
        assert len(again.history()) == 1
        again.rollback(1)
        assert again.has_label("ab12")


def test_a_rolled_back_label_is_not_there_and_may_be_used_again(memory: StoredMemory) -> None:
    labelled(memory, "ab12")
    labelled(memory, "cd34")
    memory.rollback(1)
    assert memory.has_label("ab12")
    assert not memory.has_label("cd34")
    labelled(memory, "cd34")
    assert memory.has_label("cd34")


@pytest.mark.long
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_whatever_the_disk_refuses_label_and_content_agree(tmp_path: Path, lasting: bool) -> None:
    number, total = 0, 1
    while number <= total:  # the first round, where nothing is refused, counts the changes
        store = MemoryStore(tmp_path / str(number), limits=SMALL)
        memory = store.create("alice", HOST)
        disk = Refusing(number, errno.ENOSPC, lasting=lasting)
        memory.keeper.folder.disk = memory.keeper.journal.disk = disk
        refused = False
        try:
            with memory.labelled("ab12"):
                HOST.write(memory, chunks(0, 14), "a")
        except StorageError:
            refused = True
        if number == 0:
            assert not refused
            total = disk.count
        memory.close()
        with store.open("alice", HOST) as again:
            assert len(again.writes) == (14 if again.has_label("ab12") else 0), number
            assert refused or again.writes
        number += 1
    assert total > 8


# Killed -------------------------------------------------------------------------------------------


def written(rows: int) -> Memory:
    """What every row written once, in order, makes of a memory."""
    memory = HOST.new_memory(seed=9)
    for number in range(rows):
        step = plan(number)
        if "chunks" in step:
            HOST.write(memory, step["chunks"], step["source"], step["tail"])
    return memory


@pytest.mark.long
@pytest.mark.parametrize("rows", [24, pytest.param(60, marks=pytest.mark.slow)])
def test_every_row_is_written_exactly_once_however_often_the_writer_is_killed(
    tmp_path: Path, rows: int
) -> None:
    store, draw, server = MemoryStore(tmp_path, limits=SMALL), random.Random(5), Server()
    store.create("alice", HOST, seed=9).close()
    with server.process:
        kills, before = 0, 0
        while True:
            order = {"rows": rows, "number": draw.randint(1, 70)}
            if kills % 3 == 2:
                order = {"rows": rows, "seconds": draw.uniform(0.004, 0.06)}
            told = server.run(dir=str(tmp_path), **order)
            labels = [store.has_label("alice", f"row{number}") for number in range(rows)]
            done = sum(labels)
            assert labels == [True] * done + [False] * (rows - done)
            assert before + told["acknowledged"] <= done
            with store.open("alice", HOST) as memory:
                assert contents(memory) == contents(written(done))
            before = done
            if not told["killed"]:
                assert told["code"] == 0, told
                break
            kills += 1
        server.process.communicate("")
    assert done == rows
    assert kills > rows / 6


def test_an_undivided_block_is_one_commit_or_nothing(memory: StoredMemory) -> None:
    with memory.undivided():
        HOST.write(memory, CHUNK, "a")
        HOST.write(memory, CHUNK, "b")
    with memory.undivided("ab12"):
        HOST.write(memory, CHUNK, "c")
    before = contents(memory)
    with pytest.raises(KeyError), memory.undivided():
        HOST.write(memory, CHUNK, "d")
        raise KeyError("no")
    assert [one.what for one in memory.history()] == ["create", "write", "write ab12"]
    assert [one.writes for one in memory.history()] == [0, 2, 3]
    assert contents(memory) == before
    assert memory.has_label("ab12")
