"""Which states are kept, and what the manifest was at one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_changes import everything_in, story
from tests.store.test_store import chunks

from memplus.errors import HistoryError, StorageError
from memplus.memory.state import Memory
from memplus.store import Lease, MemoryStore
from memplus.store.history import kept_commits, kept_generations, manifest_at, state_after
from memplus.store.limits import Limits

HOST = FakeHost()


def test_the_manifest_at_a_commit_is_what_was_on_the_disk_then(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        seen = {0: store.manifest("alice")}
        for turn in range(12):
            HOST.write(memory, [[turn, i, 2, 3] for i in range(turn % 5 + 1)], "a", [turn])
            seen[len(memory.writes)] = store.manifest("alice")
        journal, last = memory.keeper.journal, memory.keeper.manifest
        assert len(last.generations) > 2
        for write, then in seen.items():
            found = manifest_at(last, state_after(journal, last, write))
            same = ("commit", "writes", "tokens", "waiting", "generations")
            assert [getattr(found, name) for name in same] == [getattr(then, n) for n in same]
            assert found.segments == then.segments or found.current == then.current
            assert not found.log_open


def test_only_states_of_kept_generations_are_offered(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
        journal, manifest = memory.keeper.journal, memory.keeper.manifest
        every = kept_commits(journal, manifest)
        fewer = replace(manifest, generations=manifest.generations[-1:])
        kept = kept_commits(journal, fewer)
        assert 0 < len(kept) < len(every)
        assert every[-len(kept) :] == kept
        with pytest.raises(HistoryError, match=f"{kept[0].writes}, ") as caught:
            state_after(journal, fewer, 0)
        assert str(kept[-1].writes) in str(caught.value)


def test_the_oldest_generations_go_first(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
        folder, generations = memory.keeper.folder, memory.keeper.manifest.generations
        sizes = [folder.size(one) for one in generations]
        assert kept_generations(folder, generations, sum(sizes)) == generations
        assert kept_generations(folder, generations, sum(sizes) - 1) == generations[1:]
        assert kept_generations(folder, generations, sizes[-1]) == generations[-1:]
        assert kept_generations(folder, generations, sizes[-1] - 1) == []


def numbers(store: MemoryStore, name: str = "alice") -> list[int]:
    return [one.number for one in store.history(name)]


@pytest.mark.parametrize("shared", [False, True])
def test_no_commits_number_is_given_a_second_time(tmp_path: Path, *, shared: bool) -> None:
    lease = Lease(owner="one") if shared else None
    store = MemoryStore(tmp_path / "s", lease=lease)
    with store.create("alice", HOST) as memory:
        for turn in range(3):
            HOST.write(memory, [[turn, 1, 2, 3]], "a")
        assert numbers(store) == [1, 2, 3, 4]
        memory.rollback(commit=2)
        assert store.manifest("alice").commit == 2  # the very state of then
        HOST.write(memory, [[8, 1, 2, 3]], "a")
        assert numbers(store) == [1, 2, 5]
        for gone in (3, 4):
            with pytest.raises(HistoryError):
                memory.rollback(commit=gone)
        memory.rollback(commit=1)
        memory.rollback(commit=1)
    with store.open("alice", HOST, write=True) as memory:  # known to every later writer
        HOST.write(memory, [[9, 1, 2, 3]], "a")
        assert numbers(store) == [1, 6]
    store.rollback("alice", commit=1)
    store.fork("alice", "bob")
    store.export("alice", tmp_path / "file")
    store.import_memory(tmp_path / "file", "carol")
    for name in ("alice", "bob", "carol"):
        with store.open(name, HOST, write=True) as memory:
            HOST.write(memory, [[7, 1, 2, 3]], "a")
            memory.forget(write=1)
        assert store.manifest(name).commit == 8
        store.verify(name)


def test_a_commit_that_the_disk_refused_after_a_way_back_leaves_nothing(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s")
    with store.create("alice", HOST) as memory:
        for turn in range(3):
            HOST.write(memory, [[turn, 1, 2, 3]], "a")
        memory.rollback(commit=2)
        step = memory.keeper.folder.disk.step

        def refuse(kind: str, path: Path) -> None:
            if kind == "rename":
                raise OSError(28, "no space")
            step(kind, path)

        memory.keeper.folder.disk.step = refuse  # type: ignore[method-assign]
        with pytest.raises(StorageError):
            HOST.write(memory, [[8, 1, 2, 3]], "refused")
        memory.keeper.folder.disk.step = step  # type: ignore[method-assign]
        assert [one.number for one in memory.history()] == [1, 2]
        HOST.write(memory, [[9, 1, 2, 3]], "a")
        assert [one.number for one in memory.history()] == [1, 2, 5]
        assert {one.source for one in memory.texts().values()} == {"a"}


def vectors(memory: Memory, first: int) -> set[bytes]:
    """Hidden vectors of the rows of writes from a number on, as they lie on the disk."""
    assert memory.pool is not None
    pool = (memory.pool.columns["hidden"], memory.pool.write_id)
    tables = [] if memory.long_term is None else memory.long_term.tables
    every = [pool, *((table["hidden"], table["write_id"]) for table in tables)]
    return {row.numpy().tobytes() for rows, ids in every for row in rows[ids >= first]}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("limits", [SMALL, Limits()], ids=["segments", "log"])
def test_what_was_taken_back_is_in_none_of_the_files(
    tmp_path: Path, limits: Limits, *, closed: bool, shared: bool
) -> None:
    lease = Lease(owner="one") if shared else None
    store = MemoryStore(tmp_path, limits=limits, lease=lease)
    memory = store.create("alice", HOST, seed=1)
    story(HOST, memory)
    HOST.write(memory, [], "a", [7777])
    wanted, there = contents(memory), memory.history()
    last = len(memory.writes)
    HOST.write(memory, chunks(9000, 12), "secret", [4321])
    HOST.write(memory, chunks(9500, 3), "secret", [4322])
    gone = vectors(memory, last + 1)
    content = everything_in(tmp_path)
    assert gone
    assert all(one in content for one in (b"secret", b"word4322", *gone))
    if closed:
        memory.close()
        store.rollback("alice", commit=there[-1].number)
        memory = store.open("alice", HOST, write=True)
    else:
        memory.rollback(commit=there[-1].number)
    content = everything_in(tmp_path)
    assert not any(one in content for one in (b"secret", b"word4321", b"word4322", *gone))
    assert contents(memory) == wanted
    assert [one.number for one in memory.history()] == [one.number for one in there]
    store.verify("alice")
    memory.rollback(commit=there[5].number)  # the earlier states are found in the new files
    assert len(memory.writes) == there[5].writes
    memory.close()
    store.verify("alice")
