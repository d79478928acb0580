"""Moving a memory from one directory to another: copied, checked, switched in one step, removed."""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from memplus.errors import MemoryExistsError, StorageError
from memplus.store.directory import Directory
from memplus.store.exchange import check_files
from memplus.store.folder import Folder
from memplus.store.journal import Journal
from memplus.store.manifest import Manifest
from memplus.store.transit import ARRIVING, FROM, MOVED, TO, Note, abandoned, end_move, identity

__all__ = ["move"]


def move(
    source: Directory,
    name: str,
    target: Directory,
    wait: float | None,
    within: Callable[[], AbstractContextManager[object]],
) -> None:
    """Move a memory, of which the caller has the right to write; see ``Administration.move``.

    Raises:
        MemoryExistsError: there is one of that name in the target.
        MemoryBusyError: another process makes one of that name there.
        CorruptMemoryError: the memory, or its copy, is damaged; it stays where it is.
        StorageError: the disk refused; the memory is in one of the two directories, whole.
    """
    with target.lock(name, wait), target.named_errors():
        if name in target:
            raise MemoryExistsError(name, store=target.path)
        hashed = source.folder(name).name
        leaving, moved = source.folder(name), source.aside(f"{MOVED}{hashed}")
        arriving = target.aside(f"{ARRIVING}{hashed}")
        if arriving.exists():
            if not abandoned(target.path, hashed):  # it is a memory, of a directory out of reach
                raise MemoryExistsError(name, store=target.path)
            target.disk.remove_tree(arriving)
        if (earlier := Note.load(moved, TO)) is not None:
            reason = f"it went to {earlier.path}, which must be there before one of its name can go"
            raise StorageError(moved, reason=reason)
        number = secrets.token_hex(8)
        # To the end, so that nobody takes what arrives for what a move left that was cut short.
        with target.made_aside() as folder:
            _copy(source, name, folder)
            _noted(source, number).save(folder.path, FROM, target.disk)
            target.disk.rename(folder.path, arriving)
            try:
                with within():
                    _noted(target, number).save(leaving, TO, source.disk)
                    source.disk.rename(leaving, moved)
            except BaseException:
                if leaving.exists():
                    with contextlib.suppress(OSError):
                        target.disk.remove_tree(arriving)
                raise
            end_move(target.path, hashed, target.disk)


def _noted(other: Directory, move: str) -> Note:
    return Note(str(other.path.absolute()), move, identity(other.path, other.disk))


def _copy(source: Directory, name: str, target: Folder) -> None:
    """The memory with all its states in an empty folder, every byte of it checked."""
    manifest, folder, disk = source.manifest(name), source.folder(name), target.disk
    for file in sorted(manifest.files() - {manifest.journal}):
        disk.copy(folder / file, target.path / file, manifest.log_lengths.get(file))
    journal = target.new("journal")
    with contextlib.closing(Journal(folder / manifest.journal, disk, writable=False)) as old:
        old.copy(journal, writes=manifest.writes, commits=manifest.commit)
    # Not quite the same time: a writer of the first directory that wakes up after the memory has
    # come back there must not take it for the one that it had.
    created = math.nextafter(manifest.created, math.inf)
    made: Manifest = replace(
        manifest, journal=journal.name, log_open=False, hold=None, created=created
    )
    made.save(target.path, disk)
    check_files(target.path, made, disk)
