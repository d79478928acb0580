"""A store without its models: listed, shown, copied, moved; and nobody writes into its files."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_changes import story
from tests.warm import python

from memplus.errors import MemoryBusyError, MemoryExistsError, UnknownMemoryError, UsageError
from memplus.store import MemoryStore, exchange
from memplus.store.manifest import named_in

HOST = FakeHost()
ROOT = Path(__file__).parents[2]
MAKER = """
import sys, time
from tests.store.fakes import FakeHost
from memplus.store import MemoryStore
store, host = MemoryStore(sys.argv[1]), FakeHost()
print("ready", flush=True)
sys.stdin.readline()
with store.open_or_create("new", host, wait=60) as memory:
    host.write(memory, [[1, 2, 3, 4]], sys.argv[2])
"""


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    made = MemoryStore(tmp_path / "s", limits=SMALL)
    for name in ("bob", "alice"):
        with made.create(name, HOST) as memory:
            story(HOST, memory, calls=3)
    return made


def test_a_store_is_a_collection_of_names(store: MemoryStore) -> None:
    assert list(store) == ["alice", "bob"]
    assert len(store) == 2
    assert "alice" in store
    assert "carol" not in store
    store.delete("alice")
    assert list(store) == ["bob"]
    store.delete("bob")
    assert len(store) == 0
    assert store  # one without memories is a store all the same


def test_a_store_says_what_it_is(store: MemoryStore, tmp_path: Path) -> None:
    assert repr(store) == f"MemoryStore({str(tmp_path / 's')!r}, memories=2)"
    store.create("<b>&", HOST).close()
    html = store._repr_html_()
    assert "<td>alice</td>" in html
    assert "&lt;b&gt;&amp;" in html
    assert html.count("<tr>") == 4
    (tmp_path / "s" / "memories").rename(tmp_path / "elsewhere")
    assert repr(store) == f"MemoryStore({str(tmp_path / 's')!r})"


def test_processes_that_make_the_same_memory_at_once_all_write_to_it(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s")
    command = [*python(), "-c", MAKER, str(tmp_path / "s")]
    with ExitStack() as running:
        makers = [
            running.enter_context(
                subprocess.Popen(
                    [*command, f"source {number}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
            for number in range(3)
        ]
        for maker in makers:
            assert maker.stdout is not None
            assert maker.stdout.readline() == "ready\n"
        for maker in makers:
            assert maker.stdin is not None
            maker.stdin.write("\n")
            maker.stdin.flush()
        assert [maker.wait() for maker in makers] == [0, 0, 0]
    with store.open("new", HOST) as memory:
        assert sorted(record.source for record in memory.writes) == [
            f"source {number}" for number in range(3)
        ]


def test_making_waits_for_whoever_holds_the_name(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s")
    with store.create("alice", HOST) as memory:
        HOST.write(memory, [[1, 2, 3, 4]], "a")
    with store._directory.lock("bob", 0.0):
        for act in (
            lambda: store.create("bob", HOST, wait=0.05),
            lambda: store.open_or_create("bob", HOST, wait=0.05),
            lambda: store.fork("alice", "bob", wait=0.05),
        ):
            with pytest.raises(MemoryBusyError):
                act()
    store.fork("alice", "bob", wait=60)
    with pytest.raises(MemoryExistsError):
        store.create("bob", HOST, wait=60)
    with store.open_or_create("bob", HOST, seed=7) as memory:
        assert (memory.seed, len(memory.writes)) == (0, 1)
    with store.open_or_create("carol", HOST, seed=7) as memory:
        assert (memory.seed, len(memory.writes)) == (7, 0)


PLACES: dict[str, Callable[[Path], Path]] = {
    "its mark": lambda root: root / "store",
    "a new file in it": lambda root: root / "alice.zip",
    "a lock": lambda root: next((root / "locks").iterdir()),
    "a manifest": lambda root: next((root / "memories").rglob("manifest")),
    "a way around": lambda root: root.parent / "t" / ".." / "s" / "store",
    "a link": lambda root: root.parent / "link" / "store",
}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_exported_or_saved_into_a_store(
    store: MemoryStore, tmp_path: Path, place: str
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "s")
    path = PLACES[place](tmp_path / "s")
    files = {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="lies in the store"):
        store.export("alice", path)
    with (
        store.open("alice", HOST) as memory,
        pytest.raises(UsageError, match="lies in the store"),
    ):
        memory.save(path)
    with pytest.raises(UsageError, match="lies in the store"):
        HOST.new_memory().save(path)
    seen = {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}
    assert {p: c for p, c in seen.items() if not p.name.endswith(("-wal", "-shm"))} == files
    store.export("alice", tmp_path / "alice.zip")


def test_what_is_not_there_is_named(store: MemoryStore) -> None:
    for act in (
        lambda: store.delete("carol"),
        lambda: store.fork("carol", "dave"),
        lambda: store.verify("carol"),
        lambda: store.size("carol"),
        lambda: store.history("carol"),
        lambda: store.rollback("carol", 1),
        lambda: store.manifest("carol"),
    ):
        with pytest.raises(UnknownMemoryError, match="'carol'"):
            act()
    assert list(store) == ["alice", "bob"]


def test_size_and_history_need_no_model(store: MemoryStore) -> None:
    before = store.size("alice")
    assert [commit.writes for commit in store.history("alice")] == [0, 1, 3, 8]
    with store.open("alice", HOST, write=True) as memory:
        HOST.write(memory, [[9, 9, 9, 9]] * 4, "more")
        now = contents(memory)
    assert store.size("alice") > before
    store.fork("alice", "carol")
    store.rollback("alice", 8)
    with store.open("carol", HOST) as memory:
        assert contents(memory) == now
    with store.open("alice", HOST) as memory:
        assert len(memory.writes) == 8


def test_a_memory_is_exported_while_another_process_replaces_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(tmp_path / "s", limits=replace(SMALL, log=1, history=0))
    with store.create("alice", HOST) as memory:
        real, turns = exchange.read, []

        def read_late(path: Path) -> BinaryIO:
            if path.name.startswith("snapshot") and len(turns) < 5:
                turns.append(path)
                HOST.write(memory, [[len(turns), 2, 3, 4]], "a")  # the file is gone by now
                assert not path.exists()
            return real(path)

        monkeypatch.setattr(exchange, "read", read_late)
        store.export("alice", tmp_path / "alice.zip")
        assert len(turns) == 5
        now = contents(memory)
    other = MemoryStore(tmp_path / "t")
    other.import_memory(tmp_path / "alice.zip")
    with other.open("alice", HOST) as memory:
        assert contents(memory) == now


def test_names_are_read_once_whatever_becomes_of_the_memories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(tmp_path)
    for name in ("bob", "alice", "carol"):
        store.create(name, HOST).close()
    assert store.names() == ["alice", "bob", "carol"]
    read: list[str] = []

    def counted(folder: Path) -> str:
        read.append(folder.name)
        return named_in(folder)

    monkeypatch.setattr("memplus.store.directory.named_in", counted)
    store.delete("bob")
    read.clear()
    assert store.names() == ["alice", "carol"]
    assert read == []
    store.create("bob", HOST).close()
    store.fork("bob", "dora")
    read.clear()
    assert store.names() == ["alice", "bob", "carol", "dora"]
    assert len(read) == 2
    (damaged,) = [path for path in (tmp_path / "memories").iterdir() if path.name in read[:1]]
    (damaged / "manifest").write_bytes(b"")
    assert len(MemoryStore(tmp_path).names()) == 3


def test_what_stands_beside_a_memory_is_changed_while_nobody_else_may_write(
    store: MemoryStore,
) -> None:
    seen: list[tuple[str, bool]] = []

    @contextmanager
    def within(name: str) -> Iterator[None]:
        with pytest.raises(MemoryBusyError):
            store.open(name, HOST, write=True)
        yield
        seen.append((name, name in store))

    store.rollback("alice", commit=1, within=lambda: within("alice"))
    store.delete("bob", within=lambda: within("bob"))
    assert seen == [("alice", True), ("bob", False)]
    with pytest.raises(UnknownMemoryError):
        store.delete("bob", within=lambda: within("bob"))
    assert len(seen) == 2
