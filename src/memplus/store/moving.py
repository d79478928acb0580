"""Moving a memory from one directory to another: copied, checked, switched in one step, removed."""

from __future__ import annotations

import contextlib
import errno
import math
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from memplus.errors import (
    LeaseLostError,
    MemoryExistsError,
    MemplusError,
    StorageError,
    UnknownMemoryError,
)
from memplus.store.directory import Directory
from memplus.store.exchange import check_files
from memplus.store.folder import Folder
from memplus.store.journal import Journal
from memplus.store.manifest import Manifest
from memplus.store.transit import ARRIVING, FROM, MOVED, TO, Note, clear_copy, end_move, leave

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
        UnknownMemoryError: it was moved or deleted before the caller had that right.
        MemoryExistsError: there is one of that name in the target.
        MemoryBusyError: another process makes one of that name there.
        LeaseLostError: another writer took it over meanwhile; it stays where it is.
        CorruptMemoryError: the memory, or its copy, is damaged; it stays where it is.
        StorageError: the disk refused; the memory is in one of the two directories, whole.
    """
    # Looked at before it waits for the target: so a move that waits has the memory, which stays
    # where it is meanwhile. Were all of a circle of moves to wait for each other, the last one
    # that looked would have seen the memory that the next one has.
    if name not in source:
        raise UnknownMemoryError(name, store=source.path)
    _require_none(target, name)
    with target.lock(name, wait), target.named_errors():
        _require_none(target, name)
        hashed = source.folder(name).name
        leaving, moved = source.folder(name), source.aside(f"{MOVED}{hashed}")
        arriving = target.aside(f"{ARRIVING}{hashed}")
        _require_room(source, name, target)
        number = secrets.token_hex(8)
        there, back = target.path.absolute(), source.path.absolute()

        def undo() -> None:
            with contextlib.suppress(OSError):
                target.disk.remove_tree(arriving)
                source.disk.remove(leaving / TO)

        # To the end, so that nobody takes what arrives for what a move left that was cut short.
        with target.made_aside() as folder:
            manifest = _copy(source, name, folder)
            leave(leaving, source.disk)
            Note(str(there), number, str(back)).save(leaving, TO, source.disk)
            Note(str(back), number, str(there)).save(folder.path, FROM, target.disk)
            target.disk.rename(folder.path, arriving)
            try:
                with within():
                    source.disk.rename(leaving, moved)
                    if _manifest_in(moved) != manifest:
                        source.disk.rename(moved, leaving)
                        raise LeaseLostError(name)
            except BaseException:
                if leaving.exists():
                    undo()
                raise
            try:
                end_move(target.path, hashed, target.disk)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                source.disk.rename(moved, leaving)
                undo()
                raise MemoryExistsError(name, store=target.path) from error


def _require_none(target: Directory, name: str) -> None:
    if name in target:
        raise MemoryExistsError(name, store=target.path)


def _require_room(source: Directory, name: str, target: Directory) -> None:
    """Refuse a move that would meet what another one left, which may be all there is of a memory.

    Raises:
        StorageError: something is left; says where, and of which directory.
    """
    hashed = source.folder(name).name
    arriving, moved = target.aside(f"{ARRIVING}{hashed}"), source.aside(f"{MOVED}{hashed}")
    clear_copy(target.path, hashed, target.disk)
    for folder, note, where in ((arriving, FROM, "came from"), (moved, TO, "went to")):
        if folder.exists():
            said = Note.load(folder, note)
            reason = (
                f"an earlier memory {name!r} {where} {said.path if said else 'elsewhere'}, and "
            )
            reason += (
                "that move has not been ended: make both directories reachable and list their "
            )
            reason += "memories; or, where that memory is known to be elsewhere, remove this folder"
            raise StorageError(folder, reason=reason)


def _manifest_in(folder: Path) -> Manifest | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, MemplusError):
        return Manifest.load(folder)
    return None


def _copy(source: Directory, name: str, target: Folder) -> Manifest:
    """The memory with all its states in an empty folder, every byte of it checked.

    Returns:
        What was copied, as the source has it.
    """
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
    return manifest
