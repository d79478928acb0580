"""What is done to the memories of a directory without any model: listed, copied, moved, checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from html import escape
from pathlib import Path

from memplus.errors import MemoryExistsError, MemplusError, UnknownMemoryError, UsageError
from memplus.files import as_path
from memplus.store.directory import Directory
from memplus.store.exchange import check_files, export_files, fork_files, import_files
from memplus.store.folder import Folder
from memplus.store.history import sought_state
from memplus.store.keeper import Keeper
from memplus.store.leases import OWNERS, Holder, Lease
from memplus.store.limits import Limits
from memplus.store.locks import Right
from memplus.store.manifest import Manifest
from memplus.store.moving import move
from memplus.store.snapshot import limit_in
from memplus.store.taking import take
from memplus.store.told import Told

__all__ = ["Administration", "Within"]

Within = Callable[[], AbstractContextManager[object]]


class Administration(Told):
    """The part of a ``MemoryStore`` that needs no model.

    Iterating gives the memories' names in order; ``len`` counts them.

    Attributes:
        others: stores of which none may have a memory of the same name; see ``ShardedStore``.

    Args:
        directory: where the memories lie.
        limits: when what is written is put elsewhere.
        lease: how memories are held where several machines write; None: as the directory says.
    """

    def __init__(self, directory: Directory, limits: Limits, lease: Lease | None = None) -> None:
        super().__init__(directory)
        self._holder: Holder | None = None
        self.others: Sequence[Administration] = ()
        if lease is not None:
            directory.share()
        if directory.shared:
            owners = directory.path / OWNERS
            self._holder = Holder(owners, lease or Lease(), directory.disk)
        self.path = directory.path
        self.limits = limits

    def _right(self, name: str, wait: float | None) -> Right:
        """The right to change a memory that is there, taken.

        Raises:
            MemoryBusyError: another writer is at work for longer than ``wait`` seconds.
        """
        if self._holder is None:
            right: Right = self._directory.lock(name, wait)
        else:
            right = take(self._directory, name, self._holder, wait)
        self._directory.end_move(name)
        return right

    def naming(self, name: str, wait: float | None = 0.0) -> AbstractContextManager[object]:
        """No other process of this machine makes a memory of that name; else MemoryBusyError."""
        return self._directory.lock(name, wait)

    def require_new(self, name: str) -> None:
        """Refuse to make a memory that is here, or in one of ``others``.

        Raises:
            MemoryExistsError: there is one.
        """
        # Twice: it may be moved meanwhile from what was not yet looked at to what was.
        for other in (self, *self.others, self, *self.others):
            if name in other:
                raise MemoryExistsError(name, store=other.path)

    def __repr__(self) -> str:
        shown = repr(str(self.path))
        with suppress(MemplusError):  # it is shown also where it cannot be read
            shown += f", memories={len(self)}"
        return f"{type(self).__name__}({shown})"

    def _repr_html_(self) -> str:
        return _table(str(self.path), self.memories())

    @property
    def paths(self) -> list[Path]:
        """Its directory alone; see ``ShardedStore.paths``."""
        return [self.path]

    def __iter__(self) -> Iterator[str]:
        return iter([manifest.id for manifest in self.memories()])

    def __len__(self) -> int:
        return self._directory.count()

    def __bool__(self) -> bool:
        return True  # a store without memories is a store

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

    def names(self) -> list[str]:
        """Every memory's name, in order; of many memories far sooner known than ``memories``.

        One that is damaged may be among them, or not.

        Raises:
            StorageError: the system refused to look.
        """
        return self._directory.names()

    def delete(self, name: str, *, wait: float | None = 0.0, within: Within = nullcontext) -> None:
        """Remove a memory; forks keep what they share with it.

        Args:
            name: of the memory.
            wait: seconds to wait for a writer; None waits for ever.
            within: gives what is entered while it is removed, when no other process may change it
                or make one of its name.

        Raises:
            UnknownMemoryError, MemoryBusyError, StorageError.
        """
        if name not in self._directory:
            raise UnknownMemoryError(name, store=self.path)
        with self._right(name, wait):
            if name not in self._directory:  # another process was first
                raise UnknownMemoryError(name, store=self.path)
            with within():
                self._directory.remove(name)

    def fork(
        self,
        name: str,
        new_name: str,
        *,
        wait: float | None = 0.0,
        within: Within = nullcontext,
    ) -> None:
        """A second memory that begins as this one; both share what lies on the disk.

        Args:
            name: of the memory.
            new_name: of the fork.
            wait: seconds to wait while another process makes or deletes one of the new name.
            within: gives what is entered while the fork is made, when there is none of the new name
                and no other process may make one.

        Raises:
            UnknownMemoryError, MemoryExistsError, MemoryBusyError, StorageError.
        """

        def attempt(manifest: Manifest) -> None:
            with self._directory.arriving(new_name) as folder:
                fork_files(self._directory.folder(name), manifest, new_name, folder)

        with self._directory.lock(new_name, wait):
            self.require_new(new_name)
            with within():
                self._directory.retried(name, attempt)

    def move(
        self,
        name: str,
        target: Administration,
        *,
        wait: float | None = 0.0,
        within: Within = nullcontext,
    ) -> None:
        """Move a memory, all its states with it, to another store; forks stay.

        Whatever ends it, the memory is in exactly one of the two, whole. A reader that has it open
        keeps the state that it opened.

        Args:
            name: of the memory.
            target: another store, on whatever disk.
            wait: seconds to wait for a writer; None waits for ever.
            within: gives what is entered while it is moved, when there is none of its name in the
                target and no other process may make one.

        Raises:
            UsageError: it is the same store.
            MemoryExistsError: there is one of that name in the target.
            CorruptMemoryError: it is damaged; it stays where it is.
            UnknownMemoryError, MemoryBusyError, StorageError.
        """
        if self.path.resolve() == target.path.resolve():
            raise UsageError(f"The memory {name!r} is in {self.path} and would be there already.")
        if name not in self._directory:
            raise UnknownMemoryError(name, store=self.path)
        with self._right(name, wait):
            move(self._directory, name, target._directory, wait, within)

    def export(self, name: str, path: str | os.PathLike[str], *, notes: bytes = b"") -> None:
        """Write a memory as it is now to one portable file, and beside it what a program notes of
        it; see ``store.enclosed``.

        Raises:
            UnknownMemoryError, CorruptMemoryError.
            StorageError: the disk refused; an older file is untouched.
            UsageError: ``path`` is no path.
        """
        target = as_path(path)
        self._directory.retried(
            name,
            lambda manifest: export_files(
                self._directory.folder(name), manifest, target, self._directory.disk, notes
            ),
        )

    def import_memory(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        wait: float | None = 0.0,
        within: Within = nullcontext,
    ) -> Manifest:
        """Add a memory from a file of ``export``.

        Args:
            path: the file.
            name: its name here; None keeps the one it had.
            wait: seconds to wait while another process makes or deletes one of that name.
            within: gives what is entered while it takes its place, when there is none of its name
                and no other process may make one.

        Raises:
            MemoryExistsError: there is one of that name.
            MemoryBusyError: another process is making one.
            NotAnExportError: it is not an exported memory.
            UsageError: ``path`` is no path.
            CorruptMemoryError, MemoryVersionError, StorageError.
        """
        directory = self._directory
        with directory.named_errors(), directory.made_aside() as folder:
            manifest = import_files(as_path(path), name, folder)
            with directory.lock(manifest.id, wait):
                self.require_new(manifest.id)
                with within():
                    directory.settle(folder, manifest.id)
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

    def limit(self, name: str) -> int | None:
        """Bytes that a memory may take, None without a limit; errors as ``size``."""
        folder = self._directory.folder(name)
        return self._directory.retried(name, lambda one: limit_in(folder / one.current.snapshot))

    def rollback(
        self,
        name: str,
        to_write: int | None = None,
        *,
        commit: int | None = None,
        wait: float | None = 0.0,
        within: Within = nullcontext,
    ) -> None:
        """Make a memory what it was after a write, or after a commit; needs no model.

        Args:
            name: of the memory.
            to_write, commit: see ``StoredMemory.rollback``.
            wait: seconds to wait for another writer; None waits for ever.
            within: see ``delete``.

        Raises:
            HistoryError: no such state is kept.
            UsageError: both are given, or neither.
            UnknownMemoryError, MemoryBusyError, StorageError.
        """
        if name not in self._directory:
            raise UnknownMemoryError(name, store=self.path)
        with self._right(name, wait), within(), self._directory.named_errors():
            folder = Folder(self._directory.folder(name), self._directory.disk)
            keeper = Keeper(folder, self.manifest(name), self.limits, writable=True)
            try:
                keeper.go_back(sought_state(keeper.journal, keeper.manifest, to_write, commit))
            finally:
                keeper.close()


def _table(caption: str, manifests: Sequence[Manifest]) -> str:
    """Memories as HTML."""
    columns = ("id", "model", "tokens", "waiting", "writes")
    rows = [[getattr(one, column) for column in columns] for one in manifests]
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    head = "".join(f"<th>{column}</th>" for column in columns)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{lines}</table>"
