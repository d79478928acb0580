"""``MemoryStore``: many named memories of one or several models in one directory.

::

    DIR/store                 format and version
    DIR/memories/<hash>/      one memory: manifest, segments, snapshots, logs, journal
    DIR/locks/<hash>          held by whoever writes to it
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from memplus.errors import (
    ConfigError,
    MemoryExistsError,
    NotAStoreError,
    UnknownMemoryError,
)
from memplus.errors.base import storage_error
from memplus.files import as_path
from memplus.memory.packing import RowKind, require_kind
from memplus.memory.state import MemoryHost, require_host
from memplus.store.administration import Administration, Within
from memplus.store.blocks import Residency
from memplus.store.directory import MARK, Directory, why_no_store
from memplus.store.disk import Disk
from memplus.store.erasing import take_contents
from memplus.store.folder import Folder
from memplus.store.identity import check_identity, model_name
from memplus.store.journal import Journal, born
from memplus.store.keeper import Keeper
from memplus.store.leases import Lease
from memplus.store.limits import Limits
from memplus.store.locks import Right
from memplus.store.manifest import Manifest
from memplus.store.stored import StoredMemory

__all__ = ["MemoryStore"]

_RELAXED_SECONDS = 1.0


@dataclass(frozen=True)
class _Start:
    """How a new memory begins; see ``MemoryStore.create``."""

    seed: int
    max_bytes: int | None
    rows: RowKind | None

    def __post_init__(self) -> None:
        require_kind(self.rows)


class MemoryStore(Administration):
    """Memories in a directory, by name.

    Args:
        path: the directory; made where it is missing.
        durability: ``full``: a write is on the disk when it returns. ``relaxed``: it is there at
            most ``window`` seconds later; a crash before that loses it, whole.
        window: seconds, for ``relaxed``.
        ram: bytes that an open memory's rows may take in memory; None leaves it to the system.
        limits: when what is written is put elsewhere.
        lease: for a directory that several machines write to, and for writers that may stand still
            for long: who writes, and how long others wait for it; see ``Lease``. A directory that
            was opened so once is opened so by all; None: under a name of this process then, and
            with locks of this machine otherwise.

    Raises:
        StorageError: it cannot be made or read.
        NotAStoreError: the directory holds something else.
        MemoryVersionError: a later release made it.
    """

    _new_disk: Callable[[], Disk] = Disk
    """Gives what makes every change of the directory."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["full", "relaxed"] = "full",
        window: float = _RELAXED_SECONDS,
        ram: int | None = None,
        limits: Limits | None = None,
        lease: Lease | None = None,
    ) -> None:
        if durability not in ("full", "relaxed"):
            raise ConfigError("durability", value=durability, reason="it must be full or relaxed")
        if ram is not None and ram < 1:
            raise ConfigError("ram", value=ram, reason="it must be at least 1 byte")
        directory = Directory(as_path(path), self._new_disk())
        super().__init__(directory, limits or _limits(ram), lease)
        self.window = window if durability == "relaxed" else 0.0
        self.ram = ram

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, and what other processes are handed, open the same directory anew."""
        # The directory is open elsewhere by its place, whatever that process's own folder is.
        lease = None if self._holder is None else self._holder.lease.another()
        place = self.path.absolute()
        made = _opened, (type(self), place, self.window, self.ram, self.limits, lease)
        # Else a copy of one of several stores makes a memory that another of them has.
        return (*made, {"others": self.others}) if self.others else made

    @classmethod
    def existing(cls, path: str | os.PathLike[str], *, ram: int | None = None) -> MemoryStore:
        """A store that is there already.

        Raises:
            NotAStoreError: there is none at ``path``.
            UsageError: ``path`` is no path.
            StorageError: the system refused to look.
        """
        place = as_path(path)
        try:
            missing = "" if (place / MARK).is_file() else why_no_store(place)
        except OSError as error:
            raise storage_error(path, error) from error
        if missing:
            raise NotAStoreError(path, reason=missing)
        return cls(path, ram=ram)

    # Memories -----------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        model: MemoryHost,
        *,
        seed: int = 0,
        max_bytes: int | None = None,
        rows: RowKind | None = None,
        wait: float | None = 0.0,
    ) -> StoredMemory:
        """A pristine memory, open for writing.

        Args:
            name: any text but control characters; it never becomes a path.
            model: whose memory it is.
            seed: decides what is dropped.
            max_bytes: see ``Memory``.
            rows: how long-term rows are kept: as computed, or in 8, 4 or 2 bits; None: as the
                model's config says.
            wait: seconds to wait while another process makes or deletes one of that name; None
                waits for ever.

        Raises:
            MemoryExistsError: there is one of that name.
            MemoryBusyError: another process is making one.
            UsageError: ``model`` is none.
            StorageError.
        """
        require_host(model)
        self.require_new(name)
        start = _Start(seed, max_bytes, rows)
        with self._writing(name, wait, lambda: self._make(name, model, start)) as right:
            return self._opened(name, model, right)

    def make(
        self,
        name: str,
        model: MemoryHost,
        *,
        seed: int = 0,
        max_bytes: int | None = None,
        rows: RowKind | None = None,
        within: Within = nullcontext,
    ) -> None:
        """A pristine memory that is not opened.

        So whoever made it is told so, also where another process is the first to open it.

        Args:
            name, model, seed, max_bytes, rows: see ``create``.
            within: gives what is entered while it is made, when there is none of that name and no
                other process may make one.

        Raises:
            MemoryExistsError, MemoryBusyError, UsageError, StorageError: see ``create``.
        """
        require_host(model)
        self.require_new(name)
        start = _Start(seed, max_bytes, rows)
        with self._directory.lock(name, 0.0):
            self._make(name, model, start, within)

    def open_or_create(
        self,
        name: str,
        model: MemoryHost,
        *,
        seed: int = 0,
        max_bytes: int | None = None,
        rows: RowKind | None = None,
        wait: float | None = 0.0,
    ) -> StoredMemory:
        """The memory of that name, open for writing; where there is none, a pristine one.

        However many processes call this at once, one makes it and the others open it in turn.

        Args:
            name, model, seed, max_bytes, rows: see ``create``; an existing memory keeps its own.
            wait: seconds to wait for another writer; None waits for ever.

        Raises:
            MemoryBusyError: another writer is at work.
            MemoryMismatchError, CorruptMemoryError, MemoryVersionError, StorageError: see ``open``.
            UsageError: ``model`` is none.
        """
        require_host(model)
        start = _Start(seed, max_bytes, rows)

        def make() -> None:
            if name not in self._directory:
                with suppress(MemoryExistsError):  # another machine was first
                    self._make(name, model, start)

        with self._writing(name, wait, make) as right:
            return self._opened(name, model, right)

    @contextmanager
    def _writing(
        self, name: str, wait: float | None, make: Callable[[], None] | None = None
    ) -> Iterator[Right]:
        """The right to change a memory, kept when the block ends well.

        Args:
            name: of the memory.
            wait: seconds to wait for another writer; None waits for ever.
            make: puts the memory in place first, while no other process of this machine does.
        """
        if self._holder is not None and make is not None:
            with self._directory.lock(name, wait):
                make()
        right = self._right(name, wait)
        try:
            if self._holder is None and make is not None:
                make()
            yield right
        except BaseException:
            right.release()
            raise

    def _make(
        self, name: str, model: MemoryHost, start: _Start, within: Within = nullcontext
    ) -> None:
        """Put a pristine memory in place; its lock is held."""
        self.require_new(name)
        arriving = self._directory.arriving
        with within(), self._directory.named_errors(), arriving(name) as folder:
            model.check_weights()
            made = model.new_memory(start.seed, max_bytes=start.max_bytes, rows=start.rows)
            journal = folder.new("journal")
            Journal.create(journal, self._directory.disk)
            manifest = Manifest(
                id=name,
                model=model_name(model),
                fingerprint=model.fingerprint,
                identity=dict(model.identity),
                config=model.memory_config.identifying(),
                journal=journal.name,
                rows=made.rows,
                created=born(),
            )
            keeper = Keeper(folder, manifest, self.limits, writable=True)
            try:
                first = StoredMemory(model, keeper, None)
                take_contents(first, made)
                keeper.commit(first, "create")
            finally:
                keeper.close()

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
            UsageError: ``model`` is none.
            CorruptMemoryError, MemoryVersionError, StorageError.
        """
        require_host(model)
        if name not in self._directory:
            raise UnknownMemoryError(name, store=self.path)
        if not write:
            return self._opened(name, model, None)
        with self._writing(name, wait) as right:
            return self._opened(name, model, right)

    def _opened(self, name: str, model: MemoryHost, lock: Right | None) -> StoredMemory:
        def attempt(manifest: Manifest) -> StoredMemory:
            writable = lock is not None
            folder = Folder(
                self._directory.folder(name),
                self._directory.disk,
                _residency(self.ram, self.limits),
            )
            check_identity(manifest, model, folder)
            if writable:
                folder.tidy(manifest)
            keeper = Keeper(folder, manifest, self.limits, writable=writable)
            memory = StoredMemory(model, keeper, lock, window=self.window)
            memory.load_kept()
            return memory

        return self._directory.retried(name, attempt)


def _opened(
    kind: type[MemoryStore],
    path: Path,
    window: float,
    ram: int | None,
    limits: Limits,
    lease: Lease | None,
) -> MemoryStore:
    store = kind(path, ram=ram, limits=limits, lease=lease)
    store.window = window
    return store


def _limits(ram: int | None) -> Limits:
    """Within a budget, what waits in memory may take an eighth of it."""
    usual = Limits()
    if ram is None:
        return usual
    return Limits(log=min(usual.log, ram // 8), segment=min(usual.segment, ram // 8))


def _residency(ram: int | None, limits: Limits) -> Residency:
    return Residency(None if ram is None else max(1 << 20, ram - limits.segment - limits.log) // 2)
