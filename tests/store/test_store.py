"""A memory in a store is the memory it would be without one, after any number of openings."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.store.fakes import CONFIG, SMALL, FakeHost, contents

from memplus.config import CounterEviction, OldestEviction
from memplus.errors import (
    ClosedMemoryError,
    ConfigError,
    MemoryBusyError,
    MemoryExistsError,
    MemoryFileError,
    MemoryMismatchError,
    ReadOnlyMemoryError,
    UnknownMemoryError,
)
from memplus.store import Lease, MemoryStore

HOST = FakeHost()


def chunks(first: int, count: int) -> list[list[int]]:
    return [[first + 4 * i + j for j in range(4)] for i in range(count)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"retrieved_tokens": 0},
        {"eviction": OldestEviction(max_rows=17)},
        {"eviction": CounterEviction(every=3, initial=2.0)},
        {"first_write": "tile"},
    ],
    ids=["plain", "no store", "oldest", "counter", "tile"],
)
def test_opened_again_it_is_what_a_memory_without_a_store_is(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    host = FakeHost(replace(CONFIG, **changes))  # type: ignore[arg-type]
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    plain = host.new_memory(seed=5)
    store.create("alice", host, seed=5).close()
    for turn in range(14):
        count = (1, 3, 0, 7, 2, 19)[turn % 6]
        tail = range(turn % 3)
        with store.open("alice", host, write=True) as memory:
            assert contents(memory) == contents(plain)
            for one in (memory, plain):
                host.write(one, chunks(100 * turn, count), f"source {turn % 4}", tail)
            assert contents(memory) == contents(plain)
            with store.open("alice", host) as reader:
                assert contents(reader) == contents(plain)
    names = {path.name.partition("-")[0] for path in (tmp_path / "s" / "memories").rglob("*-*")}
    assert {"journal", "log", "snapshot"} <= names
    assert ("segment" in names) == host.memory_config.has_long_term


def test_files_do_not_become_ever_more(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=replace(SMALL, history=0))
    memory = store.create("alice", HOST)
    counts = []
    for turn in range(120):
        HOST.write(memory, chunks(turn, 1))
        counts.append(len(list((tmp_path / "s" / "memories").rglob("*"))))
    rows = sum(len(table) * 2 * (WIDE * 4 + 12) for table in memory.long_term.tables)  # type: ignore[union-attr]
    assert max(counts) <= 8 + rows // SMALL.segment
    memory.close()


WIDE = 12


@pytest.mark.parametrize(("snapshots", "most"), [(0.0, 60), (1.0, 24)])
def test_a_checkpoint_writes_no_more_than_what_it_replaces(
    tmp_path: Path, snapshots: float, most: int
) -> None:
    """With a large model's pool, a single write is longer than any fixed limit of the log."""
    store = MemoryStore(tmp_path, limits=replace(SMALL, log=1, segment=1, snapshots=snapshots))
    plain = HOST.new_memory()
    seen = set()
    with store.create("alice", HOST) as memory:
        for number in range(60):
            for one in (memory, plain):
                HOST.write(one, [[number] * 4], "text")
            seen.add(store.manifest("alice").current.snapshot)
    assert most / 4 < len(seen) <= most
    assert contents(store.open("alice", HOST)) == contents(plain)


def test_texts_are_those_written_and_cover_their_source(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, chunks(0, 3), "a", [7])
        HOST.write(memory, chunks(50, 2), "b")
        HOST.write(memory, chunks(70, 1), "a")
    with store.open("alice", HOST) as memory:
        texts = memory.texts()
        assert [texts[i].source for i in range(1, 7)] == ["a", "a", "a", "b", "b", "a"]
        assert texts[2].text == "word4 word5 word6 word7 "
        assert texts[2].ids == (4, 5, 6, 7)
        told = [texts[i] for i in (1, 2, 3, 6)]
        whole = "".join(one.text for one in told)
        for one in told:
            assert whole[one.first_char :].startswith(one.text)
        assert [one.start for one in told] == [0, 4, 8, 12]
        assert memory.texts([4, 99]).keys() == {4}


def test_a_nul_in_a_text_counts_as_a_character_like_any_other(tmp_path: Path) -> None:
    said = ["abc\0def ", "gh\0\0", "ij"]
    with MemoryStore(tmp_path).create("alice", HOST) as memory:
        for text in said:  # in calls of their own: the place is found in the journal
            HOST._chunk(memory, [1, 2, 3, 4], "n", text)
            memory.commit()
        told = list(memory.texts().values())
    whole = "".join(said)
    assert [one.first_char for one in told] == [0, 8, 12]
    assert [whole[one.first_char :][: len(one.text)] for one in told] == said


def test_one_writer_and_many_readers(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s")
    writer = store.create("alice", HOST)
    with pytest.raises(MemoryBusyError, match="alice"):
        store.open("alice", HOST, write=True)
    before = store.open("alice", HOST)
    HOST.write(writer, chunks(0, 2), "a")
    after = store.open("alice", HOST)
    assert (len(before.writes), len(after.writes)) == (0, 2)
    with pytest.raises(ReadOnlyMemoryError, match="reading"):
        HOST.write(after, chunks(0, 1))
    writer.close()
    with pytest.raises(ClosedMemoryError):
        HOST.write(writer, chunks(0, 1))
    store.open("alice", HOST, write=True).close()


@pytest.mark.parametrize(
    ("host", "named"),
    [
        (FakeHost(weights=2), "weights"),
        (FakeHost(words="b"), "tokenizer"),
        (FakeHost(replace(CONFIG, short_term_tokens=16)), "short_term_tokens"),
    ],
    ids=["weights", "tokenizer", "config"],
)
def test_another_model_is_refused_with_what_differs(
    tmp_path: Path, host: FakeHost, named: str
) -> None:
    store = MemoryStore(tmp_path / "s")
    store.create("alice", HOST).close()
    with pytest.raises(MemoryMismatchError, match=named):
        store.open("alice", host)
    with store.open("alice", HOST):
        pass


@pytest.mark.parametrize("name", ["..", "../../etc/passwd", "/", "a/b", ".", "é", "x" * 512, "~"])
def test_no_name_becomes_a_path(tmp_path: Path, name: str) -> None:
    store = MemoryStore(tmp_path / "in" / "s") if (tmp_path / "in").mkdir() is None else None
    assert store is not None
    outside = set(tmp_path.rglob("*"))
    with store.create(name, HOST) as memory:
        HOST.write(memory, chunks(0, 1))
    assert [found.id for found in store.memories()] == [name]
    made = set(tmp_path.rglob("*")) - outside
    roots = {store.path / "memories", store.path / "locks"}
    assert all(any(path.is_relative_to(root) for root in roots) for path in made)
    store.delete(name)
    assert store.memories() == []


@pytest.mark.parametrize("name", ["", "a\nb", "a\0b", "\x1b[2J", "x" * 513])
def test_names_that_cannot_be_shown_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="printable"):
        MemoryStore(tmp_path / "s").create(name, HOST)


def test_a_link_leads_nowhere(tmp_path: Path) -> None:
    real, store = MemoryStore(tmp_path / "real"), MemoryStore(tmp_path / "s")
    real.create("alice", HOST).close()
    (folder,) = (tmp_path / "real" / "memories").iterdir()
    (tmp_path / "s" / "memories" / folder.name).symlink_to(folder)
    assert "alice" not in store
    assert store.memories() == []
    for act in (lambda: store.open("alice", HOST), lambda: store.delete("alice")):
        with pytest.raises(UnknownMemoryError):
            act()
    assert folder.exists()


def test_names_are_unique_and_directories_are_not_taken_over(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s")
    store.create("alice", HOST).close()
    with pytest.raises(MemoryExistsError):
        store.create("alice", HOST)
    with pytest.raises(UnknownMemoryError):
        store.open("bob", HOST)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(MemoryFileError):
        MemoryStore(tmp_path / "mine")


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copied_store_is_the_same_directory(tmp_path: Path, how: Callable[[Any], Any]) -> None:
    store = MemoryStore(tmp_path / "s", durability="relaxed", window=0.5, limits=SMALL)
    store.create("alice", HOST).close()
    twin = how(store)
    assert (twin.path, twin.window, twin.ram, twin.limits) == (store.path, 0.5, None, SMALL)
    twin.create("bob", HOST).close()
    assert list(twin) == list(store) == ["alice", "bob"]


WAYS: dict[str, Callable[[MemoryStore, MemoryStore, Path, Any], Any]] = {
    "make": lambda store, _, __, within: store.make("alice", HOST, within=within),
    "fork": lambda store, _, __, within: store.fork("seed", "alice", within=within),
    "import": lambda store, _, file, within: store.import_memory(file, "alice", within=within),
    "move": lambda store, other, _, within: other.move("alice", store, within=within),
}
"""How a memory called alice comes to be in a store."""


@pytest.mark.parametrize("lease", [None, Lease("one")], ids=["lock", "lease"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_kept_beside_a_memory_is_made_ready_while_nobody_else_can_make_one(
    tmp_path: Path, way: str, lease: Lease | None
) -> None:
    other = MemoryStore(tmp_path / "other")
    other.create("alice", HOST).close()
    store = MemoryStore(tmp_path / "s", lease=lease)
    store.create("seed", HOST).close()
    store.export("seed", tmp_path / "seed.memory")
    entered: list[bool] = []

    @contextmanager
    def within() -> Iterator[None]:
        entered.append("alice" in store)
        with pytest.raises(MemoryBusyError):
            MemoryStore(tmp_path / "s").create("alice", HOST)
        yield
        entered.append("alice" in store)

    act = WAYS[way]
    act(store, other, tmp_path / "seed.memory", within)
    assert entered == [False, True]
    with MemoryStore(tmp_path / "s").open("alice", HOST, write=True):  # nobody has it yet
        pass
    if way == "move":
        other.create("alice", HOST).close()
    with pytest.raises(MemoryExistsError):
        act(store, other, tmp_path / "seed.memory", within)
    assert len(entered) == 2
