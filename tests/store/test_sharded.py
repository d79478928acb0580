"""One store over several directories: every process finds a memory where it lies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_changes import story

from memplus.errors import (
    ConfigError,
    MemoryBusyError,
    MemoryExistsError,
    UnknownMemoryError,
)
from memplus.store import MemoryStore, ShardedStore

HOST = FakeHost()
NAMES = [f"name {number}" for number in range(400)]


def sharded(path: Path, count: int = 3) -> ShardedStore:
    places = [path / f"shard{number}" for number in range(count)]
    return ShardedStore(places, lambda place: MemoryStore(place, limits=SMALL))


def test_names_are_spread_and_one_more_directory_takes_only_its_share(tmp_path: Path) -> None:
    three, four = sharded(tmp_path, 3), sharded(tmp_path, 4)
    before = {name: three.home(name).path.name for name in NAMES}
    after = {name: four.home(name).path.name for name in NAMES}
    shares = [list(before.values()).count(f"shard{number}") for number in range(3)]
    assert all(90 < share < 180 for share in shares), shares
    moved = {name for name in NAMES if before[name] != after[name]}
    assert 60 < len(moved) < 140
    assert {after[name] for name in moved} == {"shard3"}
    again = ShardedStore([tmp_path / f"shard{number}" for number in (2, 0, 1)])
    assert {name: again.home(name).path.name for name in NAMES} == before


def test_it_does_what_a_store_does(tmp_path: Path) -> None:
    store, plain = sharded(tmp_path), HOST.new_memory(seed=4)
    for name in ("alice", "bob", "carol", "dora"):
        with store.create(name, HOST, seed=4) as memory:
            story(HOST, memory, calls=2)
            with memory.labelled("ab12"):
                HOST.write(memory, [[1, 2, 3, 4]])
    story(HOST, plain, calls=2)
    HOST.write(plain, [[1, 2, 3, 4]])
    assert len({store.where(name).path for name in store}) > 1
    assert [*store] == ["alice", "bob", "carol", "dora"]
    assert (len(store), "bob" in store, "eve" in store, bool(store)) == (4, True, False, True)
    with pytest.raises(MemoryExistsError):
        store.create("bob", HOST)
    store.fork("bob", "eve")
    assert store.where("eve") is store.where("bob")
    with pytest.raises(MemoryExistsError):
        store.fork("bob", "alice")
    for name in store:
        with store.open(name, HOST) as memory:
            assert contents(memory) == contents(plain)
        assert store.verify(name)
        assert store.size(name)
        assert store.has_label(name, "ab12")
        assert store.manifest(name).id == name
    store.export("alice", tmp_path / "a.zip")
    store.import_memory(tmp_path / "a.zip", "fred")
    assert store.where("fred") is store.home("fred")
    store.rollback("alice", 0)
    assert store.history("alice")[-1].writes == 0
    store.delete("alice")
    with pytest.raises(UnknownMemoryError):
        store.open("alice", HOST)
    with store.open_or_create("alice", HOST, seed=4) as memory:
        assert not memory.writes
    with store.open_or_create("bob", HOST) as memory:
        assert memory.writes
        first = min(memory.texts())
        assert store.texts("bob", [first, 999]) == memory.texts([first])
    assert store.names() == [*store]
    assert [path.name for path in store.paths] == ["shard0", "shard1", "shard2"]
    for make in (store.create, store.open_or_create):
        with make(make.__name__, HOST, max_bytes=1 << 20, rows="int8") as memory:
            assert (memory.max_bytes, memory.rows) == (1 << 20, "int8")


def test_a_memory_is_found_where_it_was_moved_to_and_never_made_twice(tmp_path: Path) -> None:
    store = sharded(tmp_path)
    with store.create("alice", HOST, seed=4) as memory:
        story(HOST, memory, calls=2)
        kept = contents(memory)
    for shard in ("shard0", "shard1", "shard2", None):
        store.move("alice", shard)
        if shard is not None:
            assert store.where("alice").path.name == shard
        with store.open_or_create("alice", HOST) as memory:
            assert contents(memory) == kept
        assert len(store) == 1
    assert store.where("alice") is store.home("alice")
    elsewhere = next(name for name in store.stores if store.stores[name] is not store.home("alice"))
    store.move("alice", elsewhere)
    with pytest.raises(MemoryExistsError):  # also where somebody did not look before
        store.home("alice").create("alice", HOST)
    with pytest.raises(MemoryExistsError):
        store.stores[elsewhere].fork("alice", "alice")
    with pytest.raises(ConfigError, match="shard0"):
        store.move("alice", "nowhere")


def test_a_memory_that_moves_between_two_looks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sharded(tmp_path, 2)
    store.create("alice", HOST).close()
    home = store.home("alice")
    (other,) = [one for one in store.stores.values() if one is not home]
    store.move("alice", other.path.name)
    real = MemoryStore.__contains__

    def looking(self: MemoryStore, name: str) -> bool:
        found = real(self, name)
        if self is home and "alice" not in [*home]:
            monkeypatch.setattr(MemoryStore, "__contains__", real)
            store.move("alice")  # it comes to the directory that was just looked at
        return found

    monkeypatch.setattr(MemoryStore, "__contains__", looking)
    assert store.where("alice") is home
    # And one that moves between being found and being opened.
    opened = type(home).open

    def opening(self: MemoryStore, *arguments: object, **options: object) -> object:
        monkeypatch.setattr(MemoryStore, "open", opened)
        store.move("alice", other.path.name)
        return opened(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryStore, "open", opening)
    store.open("alice", HOST).close()


def test_directories_need_different_names(tmp_path: Path) -> None:
    for wrong in ([], [tmp_path / "a" / "s", tmp_path / "b" / "s"]):
        with pytest.raises(ConfigError, match="another last part"):
            ShardedStore(wrong)
    assert "shard0" in repr(sharded(tmp_path))


@pytest.mark.parametrize("at_home", [True, False])
def test_a_fork_and_a_new_memory_do_not_both_get_a_name(tmp_path: Path, at_home: bool) -> None:
    store, other = sharded(tmp_path), sharded(tmp_path)
    store.create("alice", HOST).close()
    place = store.where("alice").path
    name = next(one for one in NAMES if (store.home(one).path == place) is at_home)

    @contextmanager
    def meanwhile(makes: Callable[[], object]) -> Iterator[None]:
        with pytest.raises(MemoryBusyError):
            makes()
        yield

    store.fork("alice", name, within=lambda: meanwhile(lambda: other.create(name, HOST)))
    store.delete(name)
    store.make(name, HOST, within=lambda: meanwhile(lambda: other.fork("alice", name)))
    assert [*store] == sorted(["alice", name])


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_a_copy_makes_no_second_memory_of_a_name(
    tmp_path: Path, copied: Callable[[object], ShardedStore]
) -> None:
    store = sharded(tmp_path)
    store.create("alice", HOST).close()
    home = store.home("alice")
    elsewhere = next(name for name, one in store.stores.items() if one is not home)
    store.move("alice", elsewhere)
    again = copied(store)
    for one in (again, again.home("alice"), copied(home)):
        with pytest.raises(MemoryExistsError):
            one.create("alice", HOST)
    assert [*again] == ["alice"]
    for one in again.stores.values():
        assert {id(other) for other in one.others} == {
            id(other) for other in again.stores.values() if other is not one
        }
