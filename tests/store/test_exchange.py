"""Exported files, imports and checks: an error speaks of the file that the user named."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost, contents, store_on
from tests.store.test_changes import story

from memplus.errors import ConfigError, CorruptMemoryError, MemoryFileError, UsageError
from memplus.store import MemoryStore
from memplus.store.disk import Disk
from memplus.store.exchange import check_files
from memplus.store.manifest import Manifest

HOST = FakeHost()


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with store.create("alice", HOST, seed=1) as memory:
        story(HOST, memory)
    return store


def rewritten(path: Path, name: str, content: bytes) -> None:
    """The archive with another content of one of its files."""
    with zipfile.ZipFile(path) as archive:
        files = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for one, whole in (files | {name: content}).items():
            archive.writestr(one, whole)


def test_an_error_names_the_archive_and_the_file_in_it(store: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "alice.zip"
    store.export("alice", path)
    snapshot = store.manifest("alice").current.snapshot
    with zipfile.ZipFile(path) as archive:
        content = bytearray(archive.read(snapshot))
    content[-1] ^= 1
    rewritten(path, snapshot, bytes(content))
    with pytest.raises(CorruptMemoryError, match=rf"alice\.zip is damaged: in its {snapshot}"):
        store.import_memory(path, "bob")
    assert [one.id for one in store.memories()] == ["alice"]


def test_an_export_takes_no_pipes_place(store: MemoryStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(UsageError, match=f"{name} is no regular file"):
            store.export("alice", tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()


def test_a_compressed_or_short_archive_is_refused(store: MemoryStore, tmp_path: Path) -> None:
    path, packed = tmp_path / "alice.zip", tmp_path / "packed.zip"
    store.export("alice", path)
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    with pytest.raises(MemoryFileError, match=r"packed\.zip .*compressed"):
        store.import_memory(packed, "bob")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(MemoryFileError, match="exported memory"):
        store.import_memory(path, "bob")


@pytest.mark.parametrize("field", ["writes", "tokens", "waiting", "rows"])
def test_numbers_that_the_manifest_repeats_are_compared(store: MemoryStore, field: str) -> None:
    folder = store._directory.folder("alice")
    right = Manifest.load(folder)
    whole = check_files(folder, right, Disk())
    assert whole == store.verify("alice") > 10_000
    value = "int8" if field == "rows" else getattr(right, field) + 1
    replace(right, **{field: value}).save(folder, Disk())
    with pytest.raises(CorruptMemoryError, match=f"manifest.{field} is"):
        store.verify("alice")


def test_a_second_export_of_an_import_is_the_same_memory(
    store: MemoryStore, tmp_path: Path
) -> None:
    store.export("alice", tmp_path / "1.zip")
    other = MemoryStore(tmp_path / "t", limits=SMALL)
    other.import_memory(tmp_path / "1.zip", "bob")
    other.export("bob", tmp_path / "2.zip")
    assert store.import_memory(tmp_path / "2.zip", "carol").id == "carol"
    with store.open("alice", HOST) as alice, store.open("carol", HOST) as carol:
        assert contents(alice) == contents(carol)
        assert alice.texts() == carol.texts()


def test_an_imported_memory_gets_no_empty_name(store: MemoryStore, tmp_path: Path) -> None:
    store.export("alice", tmp_path / "1.zip")
    with pytest.raises(ConfigError, match="printable"):
        MemoryStore(tmp_path / "t").import_memory(tmp_path / "1.zip", "")
    assert list((tmp_path / "t" / "memories").iterdir()) == []


class _Hooked(Disk):
    """Calls something once, when a journal was copied."""

    act: Callable[[], None] | None = None

    def step(self, call: str, path: Path) -> None:
        if self.act is not None and call == "journal commit":
            act, self.act = self.act, None
            act()


def test_a_fork_holds_nothing_of_what_is_written_to_the_original_meanwhile(tmp_path: Path) -> None:
    disk = _Hooked()
    store, other = MemoryStore(tmp_path), store_on(disk, tmp_path)
    with store.create("a", HOST) as memory:
        HOST.write(memory, [[1, 2, 3, 4]], "first", [5])
        disk.act = lambda: HOST.write(memory, [[6, 7, 8, 9]], "secret", [777777])
        other.fork("a", "b")
        assert disk.act is None
        memory.forget(source="secret")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"word777777" in path.read_bytes()]
    with store.open("b", HOST) as fork:
        assert set(fork.source_tokens) == {"first"}


def test_a_fork_holds_nothing_of_what_was_taken_back_before(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path)
    with store.create("a", HOST) as memory:
        HOST.write(memory, [[1, 2, 3, 4]], "first", [5])
        HOST.write(memory, [[6, 7, 8, 9]], "secret", [777777])
        memory.rollback(1)
        HOST.write(memory, [[1, 2, 3, 5]], "third")
        store.fork("a", "b")
    store.delete("a")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"word777777" in path.read_bytes()]
