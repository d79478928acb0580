"""Taking a memory of a shared directory over, so that the writer before can do nothing to it.

A new writer puts the next manifest of the chain in place: the same state, a larger epoch, its own
session. Then the earlier writer's next commit finds the name taken, whenever it wakes up. A second
manifest follows at once, since the first one may have been put in place too late. Nothing
that it may still write to is used any more: the next commit begins a new log, and the journal is
a copy, made of the files themselves, since their locks may be held by a process that stands still.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

from memplus.errors import LeaseLostError, MemoryBusyError, MemplusError
from memplus.memory.checks import require
from memplus.store.database import companions, unapplied
from memplus.store.directory import Directory
from memplus.store.folder import Folder
from memplus.store.journal import Journal
from memplus.store.leases import Holder
from memplus.store.manifest import NAME, Hold, Manifest, digest_of, keep_taken
from memplus.store.transit import FROM, TO

__all__ = ["Held", "take"]

_LOOK = 0.05
"""Seconds between two looks at a memory that another writer has."""
_LOOKS = 20
"""How often a journal is copied while it goes on changing."""


class Held:
    """The right to change one memory, as long as nobody takes it.

    Args:
        directory: where the memory lies.
        name: of the memory.
        holder: this process.
        manifest: with which it was taken.
    """

    def __init__(self, directory: Directory, name: str, holder: Holder, manifest: Manifest) -> None:
        self._directory = directory
        self._name = name
        self._holder = holder
        self._chain = manifest.chain

    def release(self) -> None:
        """Let others have it at once, where it was not taken meanwhile."""
        if not self._holder.holds(self._name):
            return
        folder, disk = self._directory.folder(self._name), self._directory.disk
        try:
            # Where it cannot be told, others find out that this process has ended.
            with contextlib.suppress(OSError, MemplusError):
                last = Manifest.load(folder)
                hold = last.hold
                mine = hold is not None and hold.session == self._holder.session
                if hold is not None and mine and last.chain == self._chain:
                    replace(last, hold=replace(hold.next(), held=False)).save(folder, disk)
        finally:
            self._holder.let_go(self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.release()


def take(directory: Directory, name: str, holder: Holder, wait: float | None) -> Held:
    """Become the memory's writer.

    Args:
        directory: where it lies.
        name: of the memory.
        holder: this process.
        wait: seconds to wait for another writer; None waits for ever.

    Raises:
        UnknownMemoryError: there is none of that name.
        MemoryBusyError: another writer has it, and was heard of within its lease.
        CorruptMemoryError, MemoryVersionError, StorageError.
    """
    until = None if wait is None else time.monotonic() + wait
    while True:
        with contextlib.suppress(MemoryBusyError), directory.named_errors():
            holder.hold(name)
            break
        _wait(name, until)
    try:
        while True:
            _share(directory, name, wait)
            held = directory.retried(name, lambda found: _taken(directory, found, holder))
            if held is not None:
                return held
            _wait(name, until)
    except BaseException:
        holder.let_go(name)
        raise


def _wait(name: str, until: float | None) -> None:
    """Let a moment pass.

    Raises:
        MemoryBusyError: there is no more time.
    """
    left = _LOOK if until is None else until - time.monotonic()
    if left <= 0:
        raise MemoryBusyError(name)
    time.sleep(min(_LOOK, left))


def _share(directory: Directory, name: str, wait: float | None) -> None:
    """Make a memory that only this machine wrote to the first of a chain."""
    if directory.manifest(name).hold is not None:
        return
    with directory.lock(name, wait), directory.named_errors():
        manifest = directory.manifest(name)
        if manifest.hold is None:
            replace(manifest, hold=Hold()).save(directory.folder(name), directory.disk)


def _taken(directory: Directory, manifest: Manifest, holder: Holder) -> Held | None:
    """The memory taken over; None while another writer lives, or was quicker."""
    last = manifest.hold
    if last is None:  # another process is just sharing it
        return None
    # No handle of this process has the memory, whatever an earlier one could not tell any more.
    others = last.held and last.session != holder.session
    if others and holder.lives(last.owner, last.session):
        return None
    folder = Folder(directory.folder(manifest.id), directory.disk)
    there = set(os.listdir(folder.path))
    let_go = bool(last.sequence) and not last.held
    hold = Hold(
        epoch=last.epoch + 1,
        sequence=last.sequence + 1,
        owner=holder.lease.owner,
        session=holder.session,
        held=True,
        seized=not let_go,
        after=digest_of(folder.path / manifest.place),
    )
    taken = replace(manifest, hold=hold)
    if not let_go:
        journal = folder.new("journal")
        _copy_journal(folder, manifest, journal)
        taken = replace(taken, journal=journal.name, log_open=False)
    try:
        taken = _put_in_place(taken, folder)
    except LeaseLostError:
        folder.collect(manifest)  # the copy of the journal
        return None
    if others:
        holder.bury(last.owner, last.session)
    with contextlib.suppress(OSError):  # what cannot be removed now is removed by the next writer
        _clear(folder, taken, there)
    return Held(directory, manifest.id, holder, taken)


def _put_in_place(taken: Manifest, folder: Folder) -> Manifest:
    """Begin an epoch; returns its second manifest, which nobody has to doubt.

    Raises:
        LeaseLostError: another writer was quicker.
    """
    taken.save(folder.path, folder.disk)
    if not taken.is_true(folder.path):
        with contextlib.suppress(FileNotFoundError):
            keep_taken(folder.path / taken.place, folder.disk)
        raise LeaseLostError(taken.id)
    assert taken.hold is not None
    taken = replace(taken, hold=taken.hold.next())
    taken.save(folder.path, folder.disk)
    return taken


def _copy_journal(folder: Folder, manifest: Manifest, path: Path) -> None:
    with _files_copied(folder.path / manifest.journal, folder) as old:
        old.check(manifest.writes)
        numbers = [commit.number for commit in old.commits(manifest.commit)]
        there = manifest.commit in numbers[-1:]
        require(there, old.path, f"commit {manifest.commit}", "is missing")
        old.copy(path, writes=manifest.writes, commits=manifest.commit, shared=True)
    folder.disk.sync(folder.path)


@contextlib.contextmanager
def _files_copied(path: Path, folder: Folder) -> Iterator[Journal]:
    """A journal that another process may hold locks of, opened under another name.

    What a kill leaves of it lies in the memory's folder, where the next writer clears it away.

    Raises:
        OSError: it goes on changing, or the disk refused.
    """
    copy = folder.new("journal")
    folder.disk.step("create", copy)
    try:
        for _ in range(_LOOKS):
            if _copied(path, copy):
                break
            _remove(copy)
        else:
            raise OSError(11, "the journal goes on changing", str(path))
        journal = Journal(copy, folder.disk, writable=True)
        try:
            yield journal
        finally:
            journal.close()
    finally:
        with contextlib.suppress(OSError):  # the next writer will
            _remove(copy)


def _remove(database: Path) -> None:
    for name in companions(database.name):
        database.with_name(name).unlink(missing_ok=True)


def _copied(path: Path, copy: Path) -> bool:
    """Copy a database and what lies beside it; whether they stayed as they were meanwhile."""
    before = _stamps(path)
    for file in (path, *unapplied(path)):
        beside = copy.with_name(copy.name + file.name.removeprefix(path.name))
        try:
            shutil.copyfile(file, beside, follow_symlinks=False)
        except FileNotFoundError:
            if file == path:
                raise
            return False
    return _stamps(path) == before


def _stamps(path: Path) -> list[tuple[str, int, int, int]]:
    found = [(path.name, path.stat())]
    for file in unapplied(path):
        with contextlib.suppress(FileNotFoundError):  # it was applied just now
            found.append((file.name, file.stat()))
    return [(name, one.st_ino, one.st_size, one.st_mtime_ns) for name, one in found]


def _clear(folder: Folder, taken: Manifest, there: set[str]) -> None:
    """Remove what earlier writers left: of what lay here before the memory was taken, all that it
    does not name. What came later may be the next writer's."""
    taken.retire_earlier(folder.path, folder.disk)
    kept = taken.files() | companions(taken.journal) | {NAME, FROM, TO}
    folder.known |= {one for one in there - kept if not one.startswith(taken.chain)}
    folder.collect(taken)
