"""Going back, forking, forgetting, moving elsewhere: each leaves exactly what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.store.fakes import CONFIG, SMALL, FakeHost, contents, said_by
from tests.store.test_store import chunks

from memplus.config import CounterEviction, OldestEviction
from memplus.errors import HistoryError, MemoryExistsError, MemoryFileError, UsageError
from memplus.memory.state import Memory
from memplus.store import MemoryStore, StoredMemory

HOST = FakeHost()
RULES = [CONFIG.eviction, OldestEviction(max_rows=17), CounterEviction(every=3, initial=2.0)]


def story(host: FakeHost, memory: Memory, calls: int = 12) -> list[tuple[int, dict[str, object]]]:
    """Calls of different lengths; the state after each, by its last write."""
    states = [(0, contents(memory))]
    for turn in range(calls):
        count = (1, 2, 5, 1, 11, 3)[turn % 6]
        host.write(memory, chunks(100 * turn, count), f"s{turn % 3}", range(turn % 3))
        states.append((len(memory.writes), contents(memory)))
    return states


def test_readers_that_retrieve_more_or_fewer_rows_change_it_alike(tmp_path: Path) -> None:
    host, store = FakeHost(), MemoryStore(tmp_path / "s", limits=SMALL)
    other = FakeHost(replace(CONFIG, retrieved_tokens=1))
    plain = host.new_memory(seed=1)
    states = story(host, plain)
    store.create("alice", host, seed=1).close()
    for turn, one in enumerate((host, other) * 6):
        with store.open("alice", one, write=True) as memory:
            count = (1, 2, 5, 1, 11, 3)[turn % 6]
            one.write(memory, chunks(100 * turn, count), f"s{turn % 3}", range(turn % 3))
            memory.reload()
            assert contents(memory) == states[turn + 1][1]
            assert memory.config == one.memory_config
    with store.open("alice", other, write=True) as memory:
        memory.rollback(states[3][0])
        assert contents(memory) == states[3][1]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize("again", [False, True], ids=["open", "opened again"])
def test_rollback_gives_back_every_earlier_state(tmp_path: Path, rule: object, again: bool) -> None:
    host = FakeHost(replace(CONFIG, eviction=rule))  # type: ignore[arg-type]
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    memory = store.create("alice", host, seed=1)
    states = story(host, memory)
    assert [commit.writes for commit in memory.history()] == [writes for writes, _ in states]
    assert len(memory.keeper.manifest.generations) >= 3
    for writes, state in reversed(states[::2]):
        memory.rollback(writes)
        if again:
            memory.close()
            memory = store.open("alice", host, write=True)
        assert contents(memory) == state
        assert max(memory.texts(), default=0) == writes
    # It goes on as if nothing had been.
    plain = host.new_memory(seed=1)
    for one in (memory, plain):
        story(host, one)
    assert contents(memory) == contents(plain)
    with store.open("alice", host) as reader:
        assert contents(reader) == contents(plain)
    memory.close()
    store.verify("alice")


@pytest.mark.parametrize("closed", [False, True])
def test_a_commit_names_each_of_the_states_that_differ_in_the_tail_alone(
    tmp_path: Path, *, closed: bool
) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    memory = store.create("alice", HOST)
    states = []
    HOST.write(memory, [[1, 2, 3, 4]], "a", [])
    for token in (7, 8, 9):
        HOST.write(memory, [], "a", [token])
        states.append((memory.history()[-1], contents(memory)))
    assert len({commit.writes for commit, _ in states}) == 1
    with pytest.raises(UsageError, match="not both"):
        memory.rollback(1, commit=states[0][0].number)
    with pytest.raises(UsageError, match="not both"):
        memory.rollback()
    for commit, state in reversed(states):
        if closed:
            memory.close()
            store.rollback("alice", commit=commit.number)
            memory = store.open("alice", HOST, write=True)
        else:
            memory.rollback(commit=commit.number)
        assert contents(memory) == state
        last = memory.history()[-1]
        assert replace(last, place=commit.place) == commit
    with pytest.raises(HistoryError, match=f"after commit {states[-1][0].number} is not kept"):
        memory.rollback(commit=states[-1][0].number)
    memory.close()


def test_going_back_needs_a_kept_state(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=replace(SMALL, history=0))
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
        with pytest.raises(HistoryError, match="only those after"):
            memory.rollback(3)
        now = contents(memory)
        assert len(memory.writes) == 46
    with pytest.raises(HistoryError):
        store.rollback("alice", 3)
    with store.open("alice", HOST) as memory:
        assert contents(memory) == now
        last = memory.history()[-2:]
    store.rollback("alice", last[0].writes)
    with store.open("alice", HOST) as memory:
        assert len(memory.writes) == last[0].writes


def test_a_fork_goes_its_own_way_and_shares_what_lies_on_the_disk(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    alice = store.create("alice", HOST, seed=1)
    states = story(HOST, alice)
    store.fork("alice", "bob")
    store.fork("alice", "carol")
    with pytest.raises(MemoryExistsError):
        store.fork("alice", "bob")
    shared = [
        path
        for path in (tmp_path / "s" / "memories").rglob("segment-*")
        if path.stat().st_nlink == 3
    ]
    assert shared
    HOST.write(alice, chunks(5000, 9), "later")
    with store.open("bob", HOST, write=True) as bob:
        assert contents(bob) == states[-1][1]
        assert bob.texts()[3] == alice.texts()[3]
        HOST.write(bob, chunks(7000, 4), "other")
        bob.rollback(states[4][0])
        assert contents(bob) == states[4][1]
    store.delete("alice") if alice.close() is None else None
    with store.open("carol", HOST) as carol:
        assert contents(carol) == states[-1][1]
    store.verify("carol")
    assert [one.id for one in store.memories()] == ["bob", "carol"]


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def rows_of(memory: Memory, write: int) -> set[tuple[float, ...]]:
    """Hidden vectors of a write, wherever they are."""
    assert memory.pool is not None
    assert memory.long_term is not None
    found: list[torch.Tensor] = []
    used = memory.pool.write_id[:, : memory.pool.count] == write
    found += memory.pool.columns["hidden"][:, : memory.pool.count][used]
    for table in memory.long_term.tables:
        found += table["hidden"][table["write_id"] == write]
    return {tuple(row.tolist()) for row in found}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize("kept", [False, True], ids=["plain", "stored"])
def test_forgetting_takes_every_row_of_a_write_and_no_other(
    tmp_path: Path, rule: object, kept: bool
) -> None:
    host = FakeHost(replace(CONFIG, eviction=rule))  # type: ignore[arg-type]
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    memory = store.create("alice", host, seed=1) if kept else host.new_memory(seed=1)
    story(host, memory)
    before = {record.id: rows_of(memory, record.id) for record in memory.writes}
    sources = {record.id: record.source for record in memory.writes}
    gone = memory.forget(source="s1", write=[1, 3])
    assert set(gone.writes) == {i for i in sources if sources[i] == "s1"} | {1, 3}
    for write, rows in before.items():
        assert rows_of(memory, write) == (set() if write in gone.writes else rows)
    assert gone.short_term_rows + gone.long_term_rows == sum(len(before[i]) for i in gone.writes)
    assert memory.tail_source == "s2"  # somebody else's tail stays
    assert memory.tail
    assert "s1" not in memory.source_tokens
    if isinstance(memory, StoredMemory):
        memory.close()
        memory = store.open("alice", host, write=True)
        assert not set(gone.writes) & set(memory.texts())
    host.write(memory, chunks(9000, 8), "after")
    assert rows_of(memory, len(memory.writes))
    assert not any(rows_of(memory, write) for write in gone.writes)


def test_nothing_of_what_was_forgotten_is_left_on_the_disk(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    memory = store.create("alice", HOST, seed=1)
    HOST.write(memory, chunks(0, 3), "secret diary")
    HOST.write(memory, chunks(1000, 30), "book")
    HOST.write(memory, chunks(300, 2), "secret diary", [777])
    marks = [said_by([n]).encode() for n in (3, 11, 303, 777)] + [b"secret diary"]
    vectors = [
        torch.tensor(row).numpy().tobytes()
        for write in (1, 3, 34)
        for row in rows_of(memory, write)
    ]
    held = everything_in(tmp_path)
    assert all(mark in held for mark in marks + vectors)
    store.fork("alice", "bob")
    gone = memory.forget(source="secret diary")
    assert (gone.writes, gone.tail_tokens) == ((1, 2, 3, 34, 35), 1)
    (folder,) = {store._directory.folder("alice")}
    left = everything_in(folder)
    assert not any(mark in left for mark in marks + vectors)
    assert said_by([1005]).encode() in left
    assert all(mark in everything_in(store._directory.folder("bob")) for mark in marks + vectors)
    assert [commit.what for commit in memory.history()] == ["forget"]
    memory.close()
    store.verify("alice")


def test_what_a_text_matches_is_forgotten_across_borders_of_chunks(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, chunks(0, 4), "a", [16, 17])
        HOST.write(memory, chunks(40, 2), "b")
        HOST.write(memory, chunks(16, 1), "a", [60])
        assert memory.forget(match="WORD7 word8").writes == (2, 3)
        assert memory.forget(match=re.compile("word4[0-3]")).writes == (5,)
        gone = memory.forget(match="word60")
        assert (gone.writes, gone.tail_tokens, memory.tail) == ((), 1, [])
        for wrong in ("", re.compile("x*")):
            with pytest.raises(UsageError, match="empty"):
                memory.forget(match=wrong)
        with pytest.raises(UsageError, match="no write 99"):
            memory.forget(write=99)
        with pytest.raises(UsageError, match="Name a source"):
            memory.forget()
    with pytest.raises(UsageError, match="keeps no texts"):
        HOST.new_memory().forget(match="a")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_rebuilt_it_is_the_memory_that_never_saw_them(tmp_path: Path, rule: object) -> None:
    host = FakeHost(replace(CONFIG, eviction=rule))  # type: ignore[arg-type]
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    memory, never = store.create("alice", host, seed=4), host.new_memory(seed=4)
    calls = [(0, 3, "a"), (40, 9, "b"), (90, 1, "c"), (100, 6, "b"), (160, 14, "a"), (300, 2, "c")]
    for first, count, source in calls:
        host.write(memory, chunks(first, count), source)
        if source != "b":
            host.write(never, chunks(first, count), source)
    gone = memory.forget(source="b", rebuild=True)
    assert len(gone.writes) == 15
    assert contents(memory) == contents(never)
    memory.close()
    with store.open("alice", host, write=True) as memory:
        assert contents(memory) == contents(never)
        assert [t.source for t in memory.texts().values()] == [r.source for r in never.writes]
        for one in (memory, never):
            host.write(one, chunks(700, 5), "d", [9])
        assert contents(memory) == contents(never)
        # The tail of somebody else is kept.
        memory.forget(source="a", rebuild=True)
        assert (memory.tail, memory.tail_text) == ([9], "word9 ")


def test_everything_can_be_forgotten(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
        memory.forget(write=range(1, len(memory.writes) + 1))
        assert (memory.short_term_rows, memory.long_term_rows, memory.tokens) == (0, 0, 0)
        HOST.write(memory, chunks(0, 9), "new")
        now = contents(memory)
    with store.open("alice", HOST) as memory:
        assert contents(memory) == now


def test_an_exported_memory_is_the_same_elsewhere(tmp_path: Path) -> None:
    store, other = MemoryStore(tmp_path / "s", limits=SMALL), MemoryStore(tmp_path / "t")
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
        store.export("alice", tmp_path / "alice.zip")
        now, texts = contents(memory), memory.texts()
    assert other.import_memory(tmp_path / "alice.zip", "bob").id == "bob"
    assert other.import_memory(tmp_path / "alice.zip").id == "alice"
    with pytest.raises(MemoryExistsError):
        other.import_memory(tmp_path / "alice.zip")
    with other.open("bob", HOST, write=True) as bob:
        assert contents(bob) == now
        assert bob.texts() == texts
        HOST.write(bob, chunks(0, 2))
    assert len(list((tmp_path / "t" / "memories").iterdir())) == 2
    (tmp_path / "no.zip").write_bytes(b"PK" + bytes(100))
    with pytest.raises(MemoryFileError):
        other.import_memory(tmp_path / "no.zip", "x")
