"""A memory's files as copies elsewhere: a fork, one portable file, and a check of every byte.

An exported memory is a ZIP archive without compression: its manifest and the files that this
names, with the journal as one plain database. Earlier states are not exported.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, BinaryIO

from memplus.errors import MemoryFileError
from memplus.memory.files import aside
from memplus.store.blocks import Container, read_records
from memplus.store.disk import Disk, Sink, read
from memplus.store.folder import Folder, trimmed
from memplus.store.journal import Journal, now
from memplus.store.manifest import NAME, Manifest

__all__ = ["check_files", "export_files", "fork_files", "import_files"]

_PIECE = 1 << 22


def fork_files(source: Path, manifest: Manifest, name: str, target: Folder) -> None:
    """Share every file but the journal, which is copied, under a manifest of another name."""
    disk = target.disk
    journal = target.new("journal")
    with _journal(source, manifest, disk) as old:
        old.copy(journal, writes=manifest.writes, commits=manifest.commit)
    for file in sorted(manifest.files() - {manifest.journal}):
        disk.share(source / file, target.path / file)
    made = replace(manifest, id=name, journal=journal.name, log_open=False, created=now())
    made.save(target.path, disk)


@contextmanager
def _journal(source: Path, manifest: Manifest, disk: Disk) -> Iterator[Journal]:
    journal = Journal(source / manifest.journal, disk, writable=False)
    try:
        yield journal
    finally:
        journal.close()


def export_files(source: Path, manifest: Manifest, path: Path, disk: Disk) -> None:
    """Write the present state as one file, whole or not at all.

    Raises:
        FileNotFoundError: a file is gone: another process has changed the memory since.
        StorageError: the disk refused; an older file is untouched.
    """
    current = manifest.current
    alone = replace(
        manifest,
        generations=[current],
        segments=trimmed(manifest.segments, current.physical),
        log_open=False,
    )
    try:
        with aside(path) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
            _fill(archive, source, manifest, alone, disk)
    except _SourceGone as gone:
        raise gone.error from gone


class _SourceGone(Exception):
    """Carries the error of a missing file past what explains errors of the new one."""

    def __init__(self, error: FileNotFoundError) -> None:
        super().__init__()
        self.error = error


@contextmanager
def _source() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise _SourceGone(error) from error


def _fill(
    archive: zipfile.ZipFile, source: Path, manifest: Manifest, alone: Manifest, disk: Disk
) -> None:
    """Put what ``alone`` names into the archive, and ``alone`` itself."""
    archive.writestr(NAME, alone.content())
    lengths = {part.name: part.length for part in alone.current.logs}
    for file in sorted(alone.files() - {alone.journal}):
        with _source():
            content = read(source / file)
        with content:
            _store(archive, file, content, lengths.get(file))
    beside = Path(str(archive.filename)).parent
    with tempfile.TemporaryDirectory(prefix=".journal-", dir=beside) as folder:
        copy = Path(folder) / alone.journal
        with _source(), _journal(source, manifest, disk) as old:
            old.copy(copy, writes=manifest.writes, commits=manifest.commit)
        with read(copy) as content:
            _store(archive, alone.journal, content, None)


def _store(archive: zipfile.ZipFile, name: str, content: BinaryIO, length: int | None) -> None:
    """Add a file, or its first ``length`` bytes."""
    with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as target:
        left = length
        while piece := content.read(_PIECE if left is None else min(_PIECE, left)):
            target.write(piece)
            left = None if left is None else left - len(piece)


def import_files(path: Path, name: str | None, target: Folder) -> Manifest:
    """Unpack an exported memory into a folder and check every byte of it.

    Args:
        path: of ``export_files``.
        name: its new name; None keeps the one it had.
        target: an empty folder.

    Returns:
        The manifest, already in place.

    Raises:
        MemoryFileError: it is no exported memory.
        CorruptMemoryError, MemoryVersionError.
    """
    disk = target.disk
    try:
        with read(path) as file, zipfile.ZipFile(file) as archive:
            _unpack(archive, NAME, target.path / NAME, disk)
            manifest = Manifest.load(target.path)
            for entry in sorted(manifest.files()):
                _unpack(archive, entry, target.path / entry, disk)
    except (zipfile.BadZipFile, KeyError, NotImplementedError) as error:
        raise MemoryFileError(path, reason=f"it is no exported memory ({error})") from error
    manifest = replace(manifest, id=name or manifest.id, created=now())
    manifest.save(target.path, disk)
    check_files(target.path, manifest, disk)
    return manifest


def _unpack(archive: zipfile.ZipFile, name: str, path: Path, disk: Disk) -> None:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile("it is compressed")
    with archive.open(info) as content, disk.create(path) as sink:
        _copy(content, sink)


def _copy(content: IO[bytes], sink: Sink) -> None:
    while piece := content.read(_PIECE):
        sink.write(piece)


def check_files(folder: Path, manifest: Manifest, disk: Disk) -> int:
    """Read and check every byte that a memory consists of, earlier states included.

    Returns:
        How many bytes those are.

    Raises:
        CorruptMemoryError: naming the first damaged file and where it is damaged.
        FileNotFoundError: a file is missing.
    """
    total = 0
    whole = [segment.name for segment in manifest.segments]
    for name in [*whole, *(generation.snapshot for generation in manifest.generations)]:
        container = Container.open(folder / name)
        container.check_all()
        total += container.total
    for generation in manifest.generations:
        for part in generation.logs:
            read_records(folder / part.name, part.length)
            total += part.length
    with _journal(folder, manifest, disk) as journal:
        journal.check(manifest.writes)
    return total + (folder / manifest.journal).stat().st_size
