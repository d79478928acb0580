"""``MemoryStore``: many named memories of one or several models in one directory.

::

    DIR/store                 format and version
    DIR/memories/<hash>/      one memory: manifest, segments, snapshots, logs, journal
    DIR/locks/<hash>          held by whoever writes to it
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from memplus.config import MemoryConfig
from memplus.errors import (
    ConfigError,
    MemoryExistsError,
    MemoryFileError,
    MemoryMismatchError,
    UnknownMemoryError,
)
from memplus.errors.base import storage_error
from memplus.memory.state import MemoryHost
from memplus.store.blocks import Residency
from memplus.store.directory import MARK, Directory
from memplus.store.disk import Disk
from memplus.store.exchange import check_files, export_files, fork_files, import_files
from memplus.store.folder import Folder
from memplus.store.journal import Commit, Journal, now
from memplus.store.keeper import Keeper, Limits, kept_commits
from memplus.store.locks import Lock
from memplus.store.manifest import Manifest
from memplus.store.stored import StoredMemory

__all__ = ["MemoryStore"]

_RELAXED_SECONDS = 1.0


class MemoryStore:
    """Memories in a directory, by name.

    Args:
        path: the directory; made where it is missing.
        durability: ``full``: a write is on the disk when it returns. ``relaxed``: it is there at
            most ``window`` seconds later; a crash before that loses it, whole.
        window: seconds, for ``relaxed``.
        ram: bytes that an open memory's rows may take in memory; None leaves it to the system.
        limits: when what is written is put elsewhere.
        disk: makes every change.

    Raises:
        StorageError: it cannot be made or read.
        MemoryFileError: the directory holds something else.
        MemoryVersionError: a later release made it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["full", "relaxed"] = "full",
        window: float = _RELAXED_SECONDS,
        ram: int | None = None,
        limits: Limits | None = None,
        disk: Disk | None = None,
    ) -> None:
        if durability not in ("full", "relaxed"):
            raise ConfigError("durability", value=durability, reason="it must be full or relaxed")
        if ram is not None and ram < 1:
            raise ConfigError("ram", value=ram, reason="it must be at least 1 byte")
        self.path = Path(path)
        self.window = window if durability == "relaxed" else 0.0
        self.ram = ram
        self.limits = limits or _limits(ram)
        self._directory = Directory(self.path, disk or Disk())

    @classmethod
    def existing(cls, path: str | os.PathLike[str], *, ram: int | None = None) -> MemoryStore:
        """A store that is there already.

        Raises:
            MemoryFileError: there is none at ``path``.
            StorageError: the system refused to look.
        """
        try:
            there = (Path(path) / MARK).is_file()
        except OSError as error:
            raise storage_error(path, error) from error
        if not there:
            raise MemoryFileError(path, reason="there is no store of memories")
        return cls(path, ram=ram)

    def __contains__(self, name: str) -> bool:
        return name in self._directory

    def manifest(self, name: str) -> Manifest:
        """What a memory consists of; needs no model.

        Raises:
            UnknownMemoryError: there is none of that name.
            CorruptMemoryError, MemoryVersionError.
        """
        return self._directory.manifest(name)

    def memories(self) -> list[Manifest]:
        """Every memory's manifest, by name.

        Raises:
            CorruptMemoryError: one of them is damaged.
        """
        return self._directory.memories()

    # Memories -----------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        model: MemoryHost,
        *,
        seed: int = 0,
        max_bytes: int | None = None,
        rows: Literal["exact", "int8"] = "exact",
    ) -> StoredMemory:
        """A pristine memory, open for writing.

        Args:
            name: any text but control characters; it never becomes a path.
            model: whose memory it is.
            seed: decides what is dropped.
            max_bytes: see ``Memory``.
            rows: how long-term rows are kept: as computed, or in 8 bits.

        Raises:
            MemoryExistsError: there is one of that name.
            StorageError.
        """
        if rows not in ("exact", "int8"):
            raise ConfigError("rows", value=rows, reason="it must be exact or int8")
        if name in self._directory:
            raise MemoryExistsError(name, store=self.path)
        lock = self._directory.lock(name, 0.0)
        try:
            with self._directory.named_errors(), self._directory.arriving(name) as folder:
                made = model.new_memory(seed, max_bytes=max_bytes)
                if rows == "int8":
                    made.pack()
                journal = folder.new("journal")
                Journal.create(journal, self._directory.disk)
                manifest = Manifest(
                    id=name,
                    model=model.name,
                    fingerprint=model.fingerprint,
                    identity=dict(model.identity),
                    config=model.memory_config.to_dict(),
                    journal=journal.name,
                    rows=rows,
                    created=now(),
                )
                keeper = Keeper(folder, manifest, self.limits, writable=True)
                StoredMemory.adopt(made, keeper, model)
                keeper.close()
            return self._opened(name, model, lock)
        except BaseException:
            lock.release()
            raise

    def open(
        self,
        name: str,
        model: MemoryHost,
        *,
        write: bool = False,
        wait: float | None = 0.0,
    ) -> StoredMemory:
        """Open a memory.

        Args:
            name: of the memory.
            model: the one that wrote it.
            write: for writing too; one at a time, while any number may read.
            wait: seconds to wait for another writer; None waits for ever.

        Raises:
            UnknownMemoryError: there is none of that name.
            MemoryBusyError: another writer is at work.
            MemoryMismatchError: another model, adapter, tokenizer or config wrote it.
            CorruptMemoryError, MemoryVersionError, StorageError.
        """
        if name not in self._directory:
            raise UnknownMemoryError(name, store=self.path)
        lock = self._directory.lock(name, wait) if write else None
        try:
            return self._opened(name, model, lock)
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    def _opened(self, name: str, model: MemoryHost, lock: Lock | None) -> StoredMemory:
        def attempt(manifest: Manifest) -> StoredMemory:
            _check_identity(manifest, model)
            writable = lock is not None
            folder = Folder(
                self._directory.folder(name),
                self._directory.disk,
                _residency(self.ram, self.limits),
            )
            if writable:
                folder.tidy(manifest)
            keeper = Keeper(folder, manifest, self.limits, writable=writable)
            memory = StoredMemory(model, keeper, lock, window=self.window)
            memory.reload()
            return memory

        return self._directory.retried(name, attempt)

    def delete(self, name: str, *, wait: float | None = 0.0) -> None:
        """Remove a memory; forks keep what they share with it.

        Raises:
            UnknownMemoryError, MemoryBusyError, StorageError.
        """
        if name not in self._directory:
            raise UnknownMemoryError(name, store=self.path)
        with self._directory.lock(name, wait), self._directory.named_errors():
            aside = self._directory.aside("gone")
            self._directory.disk.rename(self._directory.folder(name), aside)
            self._directory.disk.remove_tree(aside)

    def fork(self, name: str, new_name: str) -> None:
        """A second memory that begins as this one; both share what lies on the disk.

        Raises:
            UnknownMemoryError, MemoryExistsError, MemoryBusyError, StorageError.
        """

        def attempt(manifest: Manifest) -> None:
            with self._directory.arriving(new_name) as folder:
                fork_files(self._directory.folder(name), manifest, new_name, folder)

        with self._directory.lock(new_name, 0.0):
            self._directory.retried(name, attempt)

    def export(self, name: str, path: str | os.PathLike[str]) -> None:
        """Write a memory as it is now to one portable file.

        Raises:
            UnknownMemoryError, CorruptMemoryError.
            StorageError: the disk refused; an older file is untouched.
        """
        self._directory.retried(
            name,
            lambda manifest: export_files(
                self._directory.folder(name), manifest, Path(path), self._directory.disk
            ),
        )

    def import_memory(self, path: str | os.PathLike[str], name: str | None = None) -> Manifest:
        """Add a memory from a file of ``export``.

        Args:
            path: the file.
            name: its name here; None keeps the one it had.

        Raises:
            MemoryExistsError: there is one of that name.
            MemoryFileError: it is no exported memory.
            CorruptMemoryError, MemoryVersionError, StorageError.
        """
        directory = self._directory
        with directory.named_errors(), directory.made_aside() as folder:
            manifest = import_files(Path(path), name, folder)
            with directory.lock(manifest.id, 0.0):
                if manifest.id in directory:
                    raise MemoryExistsError(manifest.id, store=self.path)
                directory.disk.rename(folder.path, directory.folder(manifest.id))
        return manifest

    def verify(self, name: str) -> int:
        """Check every byte of a memory; returns how many.

        Raises:
            CorruptMemoryError: naming the first damaged file and where it is damaged.
            UnknownMemoryError, MemoryVersionError, StorageError.
        """
        folder = self._directory.folder(name)
        return self._directory.retried(
            name, lambda manifest: check_files(folder, manifest, self._directory.disk)
        )

    def size(self, name: str) -> int:
        """Bytes of a memory's files, those shared with forks included.

        Raises:
            UnknownMemoryError, CorruptMemoryError, StorageError.
        """
        folder = self._directory.folder(name)
        return self._directory.retried(
            name, lambda manifest: sum((folder / f).stat().st_size for f in manifest.files())
        )

    def history(self, name: str) -> list[Commit]:
        """The states that ``rollback`` can go back to, oldest first; needs no model.

        Raises:
            UnknownMemoryError, CorruptMemoryError, StorageError.
        """

        def attempt(manifest: Manifest) -> list[Commit]:
            journal = Journal(
                self._directory.folder(name) / manifest.journal,
                self._directory.disk,
                writable=False,
            )
            try:
                return kept_commits(journal, manifest)
            finally:
                journal.close()

        return self._directory.retried(name, attempt)

    def rollback(self, name: str, to_write: int, *, wait: float | None = 0.0) -> None:
        """Make a memory what it was after a write; needs no model.

        Raises:
            HistoryError: no state after that write is kept.
            UnknownMemoryError, MemoryBusyError, StorageError.
        """
        if name not in self._directory:
            raise UnknownMemoryError(name, store=self.path)
        with self._directory.lock(name, wait), self._directory.named_errors():
            folder = Folder(self._directory.folder(name), self._directory.disk)
            keeper = Keeper(folder, self.manifest(name), self.limits, writable=True)
            try:
                keeper.go_back(to_write)
            finally:
                keeper.close()


def _limits(ram: int | None) -> Limits:
    """Within a budget, what waits in memory may take an eighth of it."""
    usual = Limits()
    if ram is None:
        return usual
    return Limits(log=min(usual.log, ram // 8), segment=min(usual.segment, ram // 8))


def _residency(ram: int | None, limits: Limits) -> Residency:
    return Residency(None if ram is None else max(1 << 20, ram - limits.segment - limits.log) // 2)


def _check_identity(manifest: Manifest, model: MemoryHost) -> None:
    differs: list[str] = []
    try:
        theirs = MemoryConfig.from_dict(manifest.config).to_dict()
    except ConfigError as error:
        raise MemoryMismatchError(differs=error.message) from error
    ours = model.memory_config.to_dict()
    differs += [name for name in ours if ours[name] != theirs[name]]
    if not differs:
        mine = dict(model.identity)
        names = mine.keys() | manifest.identity.keys()
        differs += sorted(n for n in names if mine.get(n) != manifest.identity.get(n))
    if not differs and manifest.fingerprint != model.fingerprint:
        differs.append("the model's weights or dtype")
    if differs:
        raise MemoryMismatchError(differs=", ".join(differs))
