"""A memory's files as copies elsewhere: a fork, one portable file, and a check of every byte.

An exported memory is a ZIP archive without compression: its manifest and the files that this
names, with the journal as one plain database. Earlier states are not exported.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO

from memplus.config import MemoryConfig
from memplus.errors import ConfigError, CorruptMemoryError, NotAnExportError
from memplus.files import aside
from memplus.memory.checks import require, require_finite, wrong
from memplus.memory.records import WriteRecord
from memplus.store.blocks import Container, read_records
from memplus.store.container_contents import Expected, check_record, check_segment, check_snapshot
from memplus.store.disk import Disk, Sink, read
from memplus.store.enclosed import enclose
from memplus.store.folder import Folder, trimmed
from memplus.store.history import kept_commits, require_place
from memplus.store.journal import Journal, born
from memplus.store.manifest import NAME, Generation, Manifest, SegmentEntry

__all__ = ["check_files", "export_files", "fork_files", "import_files"]

_PIECE = 1 << 22
_NO_ARCHIVE = (
    zipfile.BadZipFile, KeyError, NotImplementedError, EOFError, RuntimeError, ValueError,
    OverflowError, struct.error,
)  # fmt: skip
"""What reading raises of a file that is not an archive, or not one of ours."""


def fork_files(source: Path, manifest: Manifest, name: str, target: Folder) -> None:
    """Share what never changes, and copy the journal and the logs, under another name.

    Behind what the manifest tells a log goes on: with what is written to the original meanwhile, or
    was taken back, none of which the fork may keep once it is forgotten there.
    """
    disk = target.disk
    journal = target.new("journal")
    with _journal(source, manifest, disk) as old:
        old.copy(journal, writes=manifest.writes, commits=manifest.commit)
    lengths = manifest.log_lengths
    for file in sorted(manifest.files() - {manifest.journal}):
        if file in lengths:
            disk.copy(source / file, target.path / file, lengths[file])
        else:
            disk.share(source / file, target.path / file)
    made = replace(
        manifest, id=name, journal=journal.name, log_open=False, created=born(), hold=None
    )
    made.save(target.path, disk)


@contextmanager
def _journal(source: Path, manifest: Manifest, disk: Disk) -> Iterator[Journal]:
    journal = Journal(source / manifest.journal, disk, writable=False)
    try:
        yield journal
    finally:
        journal.close()


def export_files(
    source: Path, manifest: Manifest, path: Path, disk: Disk, notes: bytes = b""
) -> None:
    """Write the present state as one file, whole or not at all; ``notes`` are put beside it.

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
        hold=None,
    )
    try:
        with aside(path) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
            _fill(archive, source, manifest, alone, disk)
            enclose(archive, notes)
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
        NotAnExportError: it is not an exported memory.
        CorruptMemoryError, MemoryVersionError.
    """
    disk = target.disk
    try:
        manifest = _unpacked(path, target.path, disk)
        manifest = replace(
            manifest, id=manifest.id if name is None else name, created=born(), hold=None
        )
        manifest.save(target.path, disk)
        check_files(target.path, manifest, disk)
    except CorruptMemoryError as error:
        raise _in_archive(path, error) from error
    return manifest


def _unpacked(path: Path, folder: Path, disk: Disk) -> Manifest:
    """Every file that the manifest names, in a folder; nothing of them is checked but their CRC."""
    try:
        with read(path) as file, zipfile.ZipFile(file) as archive:
            _unpack(archive, NAME, folder / NAME, disk)
            manifest = Manifest.load(folder)
            entries = sorted(manifest.files())
            _require_sizes(archive, entries, os.fstat(file.fileno()).st_size)
            for entry in entries:
                _unpack(archive, entry, folder / entry, disk)
    except _NO_ARCHIVE as error:
        raise NotAnExportError(path, reason=_sentence(error)) from error
    return manifest


def _sentence(error: Exception) -> str:
    """What is wrong with an archive; ``KeyError`` puts its sentence in quotes."""
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)


def _in_archive(path: Path, error: CorruptMemoryError) -> CorruptMemoryError:
    """The same about the file that the user named, not about the folder it was unpacked into."""
    inside = Path(str(error.fields["path"])).name
    return CorruptMemoryError(path, reason=f"in its {inside}, {error.fields['reason']}")


def _require_sizes(archive: zipfile.ZipFile, entries: list[str], size: int) -> None:
    """Refuse an archive whose entries share bytes, and would unpack to more than it holds."""
    if sum(archive.getinfo(name).file_size for name in entries) > size:
        raise zipfile.BadZipFile("its entries are longer than it is")


def _unpack(archive: zipfile.ZipFile, name: str, path: Path, disk: Disk) -> None:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise zipfile.BadZipFile("it is compressed or encrypted")
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
    segments = [(entry, Container.open(folder / entry.name)) for entry in manifest.segments]
    for _, segment in segments:
        segment.check_all()
        _check_finite(segment)
        total += segment.total
    states: list[_State] = []
    for generation in manifest.generations:
        state = _check_generation(folder, manifest, generation, segments)
        states.append(state)
        total += state.nbytes
    _check_counts(folder / NAME, manifest, states[-1])
    with _journal(folder, manifest, disk) as journal:
        journal.check(manifest.writes)
        _check_texts(journal, manifest, states[-1].writes)
        for commit in kept_commits(journal, manifest):
            require_place(commit, manifest, journal.path)
    return total + (folder / manifest.journal).stat().st_size


def _check_finite(container: Container) -> None:
    for name in container.names:
        require_finite({name: container.rows(name)}, container.path)


@dataclass(frozen=True)
class _State:
    """What a generation comes to, its rows apart."""

    writes: list[WriteRecord]
    waiting: int
    rows: str
    nbytes: int
    """Of its snapshot and logs."""


def _check_generation(
    folder: Path,
    manifest: Manifest,
    generation: Generation,
    segments: Sequence[tuple[SegmentEntry, Container]],
) -> _State:
    """Read a state and the commits after it; no model is needed, so rows are not made again."""
    path = folder / NAME
    expected = Expected(_config(manifest, path))
    snapshot = Container.open(folder / generation.snapshot)
    snapshot.check_all()
    _check_finite(snapshot)
    meta, tensors = check_snapshot(snapshot, generation.physical, expected)
    writes = [
        WriteRecord(number, meta.sources[source], start, tokens)
        for number, source, start, tokens in tensors["writes"].tolist()
    ]
    if generation is manifest.current:
        for entry, segment in segments:
            counted = len(writes), meta.clock
            check_segment(segment, entry, tensors, expected.config, counted)
    total, waiting, count = snapshot.total, len(meta.tail), meta.count
    for part in generation.logs:
        for record in read_records(folder / part.name, part.length):
            _check_finite(record)
            commit, count = check_record(record, len(writes), count, expected)
            writes += [WriteRecord(*values) for values in commit.writes]
            waiting = len(commit.tail)
        total += part.length
    return _State(writes, waiting, meta.rows, total)


def _config(manifest: Manifest, path: Path) -> MemoryConfig:
    try:
        return MemoryConfig.from_dict(manifest.config)
    except ConfigError as error:
        field = f"{NAME}.config.{error.fields['field']}"
        raise wrong(path, field, f"is wrong ({error.fields['reason']})") from error


def _check_counts(path: Path, manifest: Manifest, state: _State) -> None:
    """The numbers that the manifest repeats."""
    found = {
        "writes": len(state.writes),
        "tokens": sum(record.tokens for record in state.writes),
        "waiting": state.waiting,
        "rows": state.rows,
    }
    for name, value in found.items():
        told = getattr(manifest, name)
        require(told == value, path, f"{NAME}.{name}", f"is {told}, but the files hold {value}")


def _check_texts(journal: Journal, manifest: Manifest, writes: Sequence[WriteRecord]) -> None:
    """Every write that was not forgotten has its text, under the same source and place."""
    missing = {record.id for record in writes if record.tokens}
    for text in journal.all_texts(manifest.writes):
        if text.id not in missing:
            continue
        missing.remove(text.id)
        record, field = writes[text.id - 1], f"write {text.id}"
        same = WriteRecord(text.id, text.source, text.start, text.tokens) == record
        require(same, journal.path, field, f"is not what {NAME} counts as that write")
        ok = len(text.ids) in (0, text.tokens)
        require(ok, journal.path, f"{field}.ids", f"are {len(text.ids)} of {text.tokens}")
    require(not missing, journal.path, f"write {min(missing, default=0)}", "is missing")
