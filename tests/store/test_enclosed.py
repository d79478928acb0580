from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from tests.store.fakes import FakeHost

from memplus.errors import NotAnExportError, UsageError
from memplus.store import MemoryStore
from memplus.store import enclosed as module
from memplus.store.enclosed import Enclosed, enclosed

HOST = FakeHost()


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    made = MemoryStore(tmp_path / "s")
    with made.create("alice", HOST) as memory:
        HOST.write(memory, [[1, 2, 3, 4]], "a")
    return made


def test_notes_travel_beside_the_memory_which_is_what_it_was(
    store: MemoryStore, tmp_path: Path
) -> None:
    with_notes, without = tmp_path / "1", tmp_path / "2"
    store.export("alice", with_notes, notes=b"tulip")
    store.export("alice", without)
    assert enclosed(with_notes) == Enclosed("alice", b"tulip")
    assert enclosed(without) == Enclosed("alice", b"")
    for name, file in (("bob", with_notes), ("carol", without)):
        store.import_memory(file, name)
        store.verify(name)
        assert store.texts(name, [1]) == store.texts("alice", [1])
    assert store.manifest("bob").files().isdisjoint({"notes"})


def test_what_is_no_export_is_named(store: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"nothing")
    with pytest.raises(NotAnExportError):
        enclosed(path)
    for names in ({}, {"manifest": b"x\n[]"}, {"manifest": b'x\n{"id": "a"}', "notes": b"zip"}):
        kind = zipfile.ZIP_DEFLATED if "notes" in names else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", kind) as archive:
            for name, content in names.items():
                archive.writestr(name, content)
        with pytest.raises(NotAnExportError):
            enclosed(path)


def test_notes_are_no_longer_than_they_can_be_read(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.export("alice", tmp_path / "file", notes=b"x" * 5_000)
    monkeypatch.setattr(module, "_MOST_BYTES", 4_000)
    with pytest.raises(NotAnExportError, match="notes is too long"):
        enclosed(tmp_path / "file")
    with pytest.raises(UsageError, match="4000"):
        store.export("alice", tmp_path / "other", notes=b"x" * 5_000)
    assert not (tmp_path / "other").exists()
