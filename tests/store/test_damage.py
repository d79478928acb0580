"""Damage is found: any changed header byte at opening, any changed row before it is used."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.store.fakes import LAYERS, RETRIEVER, SMALL, FakeHost, contents
from tests.store.test_changes import story

from memplus.errors import CorruptMemoryError, MemoryFileError, MemoryVersionError, StorageError
from memplus.store import MemoryStore
from memplus.store.blocks import Container, read_records
from memplus.store.manifest import Manifest

HOST = FakeHost()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "s"
    with MemoryStore(path, limits=SMALL).create("alice", HOST) as memory:
        story(HOST, memory)
    return path


def changed(path: Path, at: int, by: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= by
    path.write_bytes(content)


def newest(root: Path, kind: str) -> Path:
    manifest = MemoryStore(root).manifest("alice")
    name = {
        "segment": manifest.segments[-1].name,
        "snapshot": manifest.current.snapshot,
        "journal": manifest.journal,
        "log": [part.name for g in manifest.generations for part in g.logs][-1],
    }[kind]
    (found,) = (root / "memories").rglob(name)
    return found


def header_bytes(path: Path) -> int:
    return Container.open(path).data


READERS: dict[str, Callable[[Path], object]] = {
    "segment": Container.open,
    "snapshot": Container.open,
    "log": lambda path: read_records(path, path.stat().st_size),
}


@pytest.mark.parametrize("kind", READERS)
def test_every_byte_of_a_header_counts(whole: Path, tmp_path: Path, kind: str) -> None:
    source = newest(whole, kind)
    content = source.read_bytes()
    length = header_bytes(source)
    assert length > 200
    path = tmp_path / source.name
    for at in range(length):
        for by in (1, 0x80) if at < 64 else (1 << at % 8,):
            damaged = bytearray(content)
            damaged[at] ^= by
            path.write_bytes(damaged)
            with pytest.raises(MemoryFileError):
                READERS[kind](path)
    path.write_bytes(content)
    READERS[kind](path)


def test_every_byte_of_the_manifest_counts(whole: Path, tmp_path: Path) -> None:
    (source,) = (whole / "memories").rglob("manifest")
    content = source.read_bytes()
    for at in range(len(content)):
        (tmp_path / "manifest").write_bytes(
            content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
        )
        with pytest.raises(MemoryFileError):
            Manifest.load(tmp_path)
    for length in range(0, len(content), 7):
        (tmp_path / "manifest").write_bytes(content[:length])
        with pytest.raises(MemoryFileError):
            Manifest.load(tmp_path)


@pytest.mark.parametrize("kind", ["segment", "snapshot", "log"])
def test_a_damaged_byte_is_found_when_it_is_used_and_named(
    whole: Path, tmp_path: Path, kind: str
) -> None:
    draw = random.Random(kind)
    for number in range(12):
        path = tmp_path / str(number)
        shutil.copytree(whole, path)
        file = newest(path, kind)
        changed(file, draw.randrange(header_bytes(file), file.stat().st_size), 1 << number % 8)
        store = MemoryStore(path, limits=SMALL)
        with pytest.raises(CorruptMemoryError, match=file.name):
            store.verify("alice")
        current = {part.name for part in store.manifest("alice").current.logs}
        if kind != "log" or file.name in current:
            with (
                pytest.raises(CorruptMemoryError, match=file.name),
                store.open("alice", HOST) as memory,
            ):
                contents(memory)


def test_a_damaged_row_gives_no_answer(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "s")
    file = newest(tmp_path / "s", "segment")
    length = header_bytes(file)
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    queries = torch.ones(1, RETRIEVER)
    with store.open("alice", HOST) as memory:  # opened before the damage, read after it
        assert memory.long_term is not None
        changed(file, length + 5)
        for layer in range(LAYERS):
            with pytest.raises(CorruptMemoryError, match=file.name):
                chosen, _ = memory.long_term.retrieve(layer, queries)
                memory.long_term.tables[layer].take("hidden", chosen)


@pytest.mark.long
def test_a_damaged_journal_tells_nothing_wrong(whole: Path, tmp_path: Path) -> None:
    with MemoryStore(whole).open("alice", HOST) as memory:
        expected = memory.texts()
    draw = random.Random(0)
    told = 0
    for number in range(60):
        path = tmp_path / "s"
        shutil.copytree(whole, path)
        file = newest(path, "journal")
        changed(file, draw.randrange(file.stat().st_size), 1 << number % 8)
        try:
            with MemoryStore(path).open("alice", HOST) as memory:
                assert memory.texts() == expected
        except (CorruptMemoryError, StorageError):
            told += 1
        shutil.rmtree(path)
    assert told > 5


def test_missing_and_shortened_files_are_named(whole: Path, tmp_path: Path) -> None:
    for kind in ("segment", "snapshot", "journal"):
        for act in ("missing", "shortened"):
            path = tmp_path / f"{kind}-{act}"
            shutil.copytree(whole, path)
            file = newest(path, kind)
            if act == "missing":
                file.unlink()
            else:
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            with (
                pytest.raises((CorruptMemoryError, StorageError)) as caught,
                MemoryStore(path).open("alice", HOST) as memory,
            ):
                memory.texts()
            assert kind != "segment" or file.name in str(caught.value)


def test_a_manifest_from_elsewhere_names_no_other_files(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "s")
    manifest = MemoryStore(tmp_path / "s").manifest("alice")
    for name in ("../../store", "/etc/passwd", "segment-../..", "segment-0123456789abcdeg", ""):
        content = manifest.content().decode()
        body = content.partition("\n")[2].replace(manifest.segments[0].name, name)
        from memplus.store.manifest import _digest

        (tmp_path / "manifest").write_text(f"memplus-memory 1 {_digest(1, body.encode())}\n{body}")
        with pytest.raises(CorruptMemoryError, match=r"segments\.0\.name"):
            Manifest.load(tmp_path)


def test_a_later_version_is_refused_by_name(whole: Path, tmp_path: Path) -> None:
    from memplus.store.manifest import _digest

    (source,) = (whole / "memories").rglob("manifest")
    body = source.read_bytes().partition(b"\n")[2]
    line = f"memplus-memory 9 {_digest(9, body)}\n".encode()
    (tmp_path / "manifest").write_bytes(line + body)
    with pytest.raises(MemoryVersionError, match="version 9"):
        Manifest.load(tmp_path)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store").write_text('{"format": "memplus-store", "version": 7}')
    with pytest.raises(MemoryVersionError, match="version 7"):
        MemoryStore(tmp_path / "s")
