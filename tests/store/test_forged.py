"""Exported memories whose sums are right and whose contents are not: one named error, no more.

Every field of the manifest, of the containers' headers, of the journal and of the archive itself
is replaced by what makes no sense, its sums are made right again, and the file is imported. What
is imported must then open, read and be written to.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.forging import bounded, changes, tensor_changes
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_changes import story
from tests.store.test_store import chunks

from memplus.errors import MemoryFileError, MemoryMismatchError, UsageError
from memplus.store import MemoryStore
from memplus.store.blocks import BLOCK, Container, layout, write_container
from memplus.store.disk import Disk
from memplus.store.manifest import VERSION, _digest

HOST = FakeHost()
EVERY = pytest.mark.parametrize(
    "every", [11, pytest.param(1, marks=pytest.mark.slow)], ids=["sample", "all"]
)
"""A sample of the cases in every run, all of them with ``make test-all``."""
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here, so nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files in an exported memory that has segments, a snapshot, a log and a tail."""
    root = tmp_path_factory.mktemp("exported")
    store = MemoryStore(root / "s", limits=SMALL)
    with store.create("alice", HOST, seed=1) as memory:
        story(HOST, memory)
        HOST.write(memory, chunks(900, 2), "s0", [5, 6])
    store.export("alice", root / "alice.zip")
    with zipfile.ZipFile(root / "alice.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    kinds = {name.partition("-")[0] for name in files}
    assert kinds == {"manifest", "segment", "snapshot", "log", "journal"}
    return files


def named(files: Files, kind: str) -> str:
    return next(name for name in files if name.startswith(kind))


def manifest_of(files: Files) -> Any:
    return json.loads(files["manifest"].partition(b"\n")[2])


def manifest(content: object, version: int = VERSION) -> bytes:
    body = json.dumps(content).encode()
    return f"memplus-memory {version} {_digest(version, body)}\n".encode() + body


def imported(tmp_path: Path, files: Files, what: str) -> str:
    """Import them: what the error said, or nothing where the memory then works."""
    path = tmp_path / "forged.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return taken(tmp_path, path, what)


def taken(tmp_path: Path, path: Path, what: str) -> str:
    store = MemoryStore(tmp_path / "t", limits=SMALL)
    try:
        with bounded():
            store.import_memory(path, "x")
    except (MemoryFileError, UsageError) as error:
        assert [entry.name for entry in (tmp_path / "t" / "memories").iterdir()] == [], what
        return error.message
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}") from error
    try:
        store.verify("x")
        with bounded(), store.open("x", HOST, write=True) as memory:
            contents(memory), memory.texts(), memory.history()
            HOST.write(memory, chunks(0, 3), "after")
            store.verify("x")
    except (MemoryMismatchError, MemoryFileError) as error:
        return error.message
    except Exception as error:
        raise AssertionError(f"{what} was imported: {type(error).__name__}") from error
    finally:
        store.delete("x")
    return ""


def test_what_was_exported_is_imported(tmp_path: Path, exported: Files) -> None:
    assert imported(tmp_path, exported, "as it was") == ""


FREE = {"id", "model", "created", "changed", "commit", "log_open", "identity", "fingerprint"}
"""Fields of a manifest that nothing else in the file repeats."""


@EVERY
def test_every_field_of_the_manifest(tmp_path: Path, exported: Files, every: int) -> None:
    refused = 0
    for what, content in islice(changes(manifest_of(exported), most=2), 0, None, every):
        message = imported(tmp_path, exported | {"manifest": manifest(content)}, what)
        refused += bool(message)
        field = what.partition(" ")[0].partition(".")[0]
        assert message or field in FREE or field == "config", what
    assert refused > 400 // every


@pytest.mark.parametrize("content", [None, [], 5, "x", {}])
def test_a_manifest_of_another_kind(tmp_path: Path, exported: Files, content: object) -> None:
    message = imported(tmp_path, exported | {"manifest": manifest(content)}, str(content))
    assert "manifest" in message
    deep = b"[" * 200_000
    line = f"memplus-memory {VERSION} {_digest(VERSION, deep)}\n".encode()
    assert "nested too deep" in imported(tmp_path, exported | {"manifest": line + deep}, "deep")


def container_bytes(meta: Any, tensors: dict[str, torch.Tensor], folder: Path) -> bytes:
    path = folder / "container"
    path.unlink(missing_ok=True)
    plan = layout(meta, {name: (t.dtype, list(t.shape)) for name, t in tensors.items()})
    with Disk().create(path) as sink:
        write_container(sink, plan, iter(tensors.values()))
    return path.read_bytes()


def raw_container(header: bytes, data: bytes, blocks: int | None = None) -> bytes:
    """A container of any header, all its sums right."""
    sums = [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    table = struct.pack(f"<{len(sums)}I", *sums)
    start = 32 + len(header)
    rest = table + bytes(-(start + len(table)) % 64)
    count = len(sums) if blocks is None else blocks
    fixed = struct.pack(
        "<8sIIIII", b"MEMPLUSB", 1, len(header), zlib.crc32(header), count, zlib.crc32(rest)
    )
    return fixed + struct.pack("<I", zlib.crc32(fixed)) + header + rest + data


def opened(content: bytes, path: Path) -> Container:
    path.write_bytes(content)
    return Container.open(path)


@EVERY
@pytest.mark.parametrize("kind", ["segment", "snapshot", "log"])
def test_every_entry_of_a_header(tmp_path: Path, exported: Files, kind: str, every: int) -> None:
    name = named(exported, kind)
    original = opened(exported[name], tmp_path / "original")
    whole = exported[name]
    header = json.loads(whole[32 : 32 + struct.unpack("<I", whole[12:16])[0]])
    first = dict(list(header["tensors"].items())[:1])
    data = whole[original.data : original.total]
    forgeries = changes(header | {"meta": {}, "tensors": first}, most=3)
    for what, content in islice(forgeries, 0, None, every):
        content["meta"] = content.get("meta") or header["meta"]
        if isinstance(content.get("tensors"), dict):
            content["tensors"] = header["tensors"] | content["tensors"]
        forged = raw_container(json.dumps(content).encode(), data)
        if kind == "log":  # only its first record
            forged += whole[original.total :]
        grown = grown_log(exported, name, len(forged)) if kind == "log" else {}
        imported(tmp_path, exported | {name: forged} | grown, f"{kind}: {what}")
    for odd in (b"", b"null", b"[]", b"{", b"[" * 200_000, b"\xff\xfe", b"1" * 9999):
        files = exported | {name: raw_container(odd, data)}
        message = imported(tmp_path, files, f"{kind}: {odd[:9]!r}")
        assert "header" in message or "bytes" in message


def grown_log(files: Files, name: str, length: int) -> Files:
    """A manifest that counts another length of a log."""
    content = manifest_of(files)
    for part in content["generations"][-1]["logs"]:
        if part["name"] == name:
            part["length"] = length
    return {"manifest": manifest(content)}


@EVERY
@pytest.mark.parametrize("kind", ["snapshot", "log"])
def test_every_field_of_a_state(tmp_path: Path, exported: Files, kind: str, every: int) -> None:
    name = named(exported, kind)
    record = opened(exported[name], tmp_path / "original")
    rest = exported[name][record.total :]
    tensors = {one: record.rows(one) for one in record.names}
    if kind == "log":
        assert tensors.keys() >= {"hidden.0", "drop.0"}
    refused = 0
    for what, meta in islice(changes(record.meta, most=2), 0, None, every):
        try:
            forged = container_bytes(meta, tensors, tmp_path) + rest
        except ValueError:  # no JSON
            continue
        grown = grown_log(exported, name, len(forged)) if kind == "log" else {}
        refused += bool(imported(tmp_path, exported | {name: forged} | grown, what))
    assert refused > 60 // every
    for what, changed in islice(tensor_changes(tensors), 0, None, every):
        forged = container_bytes(record.meta, changed, tmp_path) + rest
        grown = grown_log(exported, name, len(forged)) if kind == "log" else {}
        imported(tmp_path, exported | {name: forged} | grown, what)


@EVERY
def test_every_tensor_of_a_segment(tmp_path: Path, exported: Files, every: int) -> None:
    name = named(exported, "segment")
    segment = opened(exported[name], tmp_path / "original")
    tensors = {one: segment.rows(one) for one in segment.names}
    for what, changed in islice(tensor_changes(tensors), 0, None, every):
        forged = container_bytes(segment.meta, changed, tmp_path)
        message = imported(tmp_path, exported | {name: forged}, what)
        # More rows than the manifest counts, or others than there were, are possible.
        assert message or "one more" in what or ": 7" in what or "birth" in what, what


@pytest.mark.parametrize("kind", ["segment", "snapshot", "log"])
def test_a_number_that_is_none_is_named(tmp_path: Path, exported: Files, kind: str) -> None:
    name = named(exported, kind)
    record = opened(exported[name], tmp_path / "original")
    tensors = {one: record.rows(one) for one in record.names}
    floats = [one for one, tensor in tensors.items() if tensor.is_floating_point()]
    for one in floats:
        if not tensors[one].numel():
            continue
        changed = tensors[one].clone()
        changed.view(-1)[0] = float("nan")
        forged = container_bytes(record.meta, tensors | {one: changed}, tmp_path)
        forged += exported[name][record.total :]
        grown = grown_log(exported, name, len(forged)) if kind == "log" else {}
        message = imported(tmp_path, exported | {name: forged} | grown, one)
        assert f"its tensor {one} holds infinite numbers or none" in message
    assert floats


COLUMNS = {
    "writes": "id commit_number source start tokens first_char time text ids crc".split(),
    "commits": "number time writes tokens waiting what snapshot log length crc".split(),
}


STATEMENTS = (
    "DROP TABLE commits",
    "DELETE FROM writes WHERE id = 3",
    "DELETE FROM commits",
    "CREATE VIEW v AS SELECT 1",
    "PRAGMA user_version = 77",
)


def journals(files: Files, folder: Path) -> Iterator[tuple[str, bytes]]:
    """The journal with each column of a row replaced, sums made right, and other schemas."""
    from memplus.store.journal import _crc

    path = folder / "journal"

    def forged(change: Callable[[sqlite3.Connection], None]) -> bytes:
        path.write_bytes(files[named(files, "journal")])
        with closing(sqlite3.connect(path)) as connection:
            change(connection)
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()

    for table, columns in COLUMNS.items():
        for index, column in enumerate(columns[:-1]):
            for value in (-1, 10**12, 2**62, 1.5, float("inf"), "", "x", b"", b"abc"):

                def change(
                    connection: sqlite3.Connection,
                    table: str = table,
                    index: int = index,
                    value: Any = value,
                ) -> None:
                    found = connection.execute(f"SELECT * FROM {table} LIMIT 1 OFFSET 2")
                    row = list(found.fetchone())
                    key = row[0]
                    row[index] = value
                    summed = row[:-1] if table == "writes" else [*row[:-1], b""]
                    row[-1] = _crc(summed)
                    marks = ", ".join("?" * 10)
                    connection.execute(f"DELETE FROM {table} WHERE {COLUMNS[table][0]} = ?", (key,))
                    connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)

                try:
                    yield f"{table}.{column} = {value!r}", forged(change)
                except (sqlite3.Error, AssertionError, TypeError):
                    continue  # SQLite itself refuses it there, or it cannot be summed
    for statement in STATEMENTS:
        yield statement, forged(lambda connection, what=statement: connection.execute(what))


@EVERY
def test_every_column_of_the_journal(tmp_path: Path, exported: Files, every: int) -> None:
    name = named(exported, "journal")
    accepted = []
    for what, content in islice(journals(exported, tmp_path), 0, None, every):
        if not imported(tmp_path, exported | {name: content}, what):
            accepted.append(what)
    free = ("first_char", "time", "text", "what", "commit_number", "ids", "commits")
    assert all(any(word in what for word in free) for what in accepted), accepted


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"A text. " * 99,
        b"PK\x05\x06" + bytes(18),
        b"%PDF-1.4" + bytes(99),
    ],
)
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "no.zip").write_bytes(content)
    assert "no.zip" in taken(tmp_path, tmp_path / "no.zip", repr(content[:9]))


def test_an_archive_that_unpacks_to_more_than_it_holds(tmp_path: Path, exported: Files) -> None:
    path = tmp_path / "forged.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in exported.items():
            archive.writestr(name, content)
    whole = path.read_bytes()
    for name, content in exported.items():
        at = whole.rindex(name.encode())  # in the central directory
        for field, width in ((at - 26, 4), (at - 22, 4), (at - 4, 4), (at - 38, 2), (at - 36, 2)):
            forged = bytearray(whole)
            forged[field : field + width] = b"\xff" * (width - 1) + b"\x0f"
            path.write_bytes(forged)
            taken(tmp_path, path, f"{name} {field - at}")
        assert content
    for cut in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:cut])
        assert taken(tmp_path, path, f"cut at {cut}")
