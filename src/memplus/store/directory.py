"""A store's directory: its mark, the folder and the lock of every name, what arrives and leaves.

A name from outside is hashed before it becomes a path, and symbolic links are not followed. A
folder is made aside and renamed into place, so it is there whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from memplus.errors import (
    ConfigError,
    CorruptMemoryError,
    MemoryExistsError,
    MemoryVersionError,
    NotAStoreError,
    StorageError,
    UnknownMemoryError,
)
from memplus.errors.base import storage_error
from memplus.store.disk import Disk, read
from memplus.store.folder import Folder
from memplus.store.leases import OWNERS
from memplus.store.locks import Lock, alone, shared
from memplus.store.manifest import Manifest, named_in
from memplus.store.transit import ARRIVING, MOVED, clear_copy, end_move, leave, recall

__all__ = ["MARK", "Directory", "why_no_store"]

MARK = "store"
"""The file that makes a directory a store."""
_VERSION = 1
_FORMAT = "memplus-store"
_LONGEST_ID = 512
_ATTEMPTS = 20
_FOLDERS_LOCK = "folders"
"""The lock that is shared by all who make or remove folders."""
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_Result = TypeVar("_Result")


class Directory:
    """Where a store lies.

    Args:
        path: the directory; made where it is missing.
        disk: makes every change.

    Raises:
        StorageError: it cannot be made or read.
        NotAStoreError: the directory holds something else.
        MemoryVersionError: a later release made it.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.disk = disk
        self._names: dict[str, str] = {}
        with self.named_errors():
            self._open()
        self._clear_remains()

    def _open(self) -> None:
        mark = self.path / MARK
        if mark.is_dir():
            raise NotAStoreError(self.path, reason=why_no_store(self.path))
        try:
            with read(mark) as file:
                content = json.loads(file.read())
            if content["format"] != _FORMAT:
                raise ValueError
        except FileNotFoundError:
            self._make(mark)
            return
        except NotADirectoryError as error:
            raise NotAStoreError(self.path, reason="it is a file, or lies in one") from error
        except (ValueError, KeyError, TypeError) as error:
            raise NotAStoreError(self.path, reason=f"its file `{MARK}` is another's") from error
        if type(content.get("version")) is not int or not 1 <= content["version"] <= _VERSION:
            raise MemoryVersionError(self.path, found=content.get("version"), supported=_VERSION)

    def _make(self, mark: Path) -> None:
        there = os.listdir(self.path) if self.path.is_dir() else []
        left = {"memories", "locks"}  # an earlier attempt may have been cut short
        if {name for name in there if not name.startswith(".")} - left:
            if mark.exists():  # another process was first, and goes on already
                self._open()
                return
            raise NotAStoreError(self.path, reason="it holds other files")
        for folder in (self.path, self.path / "memories", self.path / "locks"):
            with suppress(FileExistsError):
                if not folder.is_dir():
                    self.disk.make_folder(folder)
        content = json.dumps({"format": _FORMAT, "version": _VERSION}).encode()
        temporary = self.path / f".store-{secrets.token_hex(8)}"
        self.disk.put_aside(content, temporary)
        self.disk.put_in_place(temporary, mark)

    def _clear_remains(self) -> None:
        """Remove what a process left behind that ended in the middle of a change."""
        with suppress(OSError):
            if not self._remains():
                return
            self._end_moves()
            # Another machine's lock may not be seen here, and it may be filling a new folder.
            others = self.shared
            with alone(self._folders_lock) as nobody_at_work:
                for name in self._remains() if nobody_at_work else []:
                    if name.startswith(".gone-") or (name.startswith(".new-") and not others):
                        self.disk.remove_tree(self.aside(name))
                    elif name.startswith(ARRIVING) and not others:
                        clear_copy(self.path, name.removeprefix(ARRIVING), self.disk)

    def _remains(self) -> list[str]:
        kinds = (".gone-", ".new-", ARRIVING, MOVED)
        return [name for name in os.listdir(self.path / "memories") if name.startswith(kinds)]

    def _end_moves(self) -> None:
        for name in self._remains():
            if name.startswith((ARRIVING, MOVED)):
                self._end_move(name.removeprefix(ARRIVING).removeprefix(MOVED))

    @property
    def shared(self) -> bool:
        """Whether its writers hold leases: it has a folder in which they tell that they live."""
        with self.named_errors():
            return (self.path / OWNERS).is_dir()

    def share(self) -> None:
        """Make it one whose writers hold leases, from now on."""
        with self.named_errors(), suppress(FileExistsError):
            if not self.shared:
                self.disk.make_folder(self.path / OWNERS)
                self.disk.sync(self.path)

    @property
    def _folders_lock(self) -> Path:
        return self.path / "locks" / _FOLDERS_LOCK

    @contextmanager
    def named_errors(self, *, missing: bool = True) -> Iterator[None]:
        """What the disk refuses becomes a ``StorageError``; a missing file only if ``missing``."""
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not missing:
                raise
            raise storage_error(self.path, error) from error

    def folder(self, name: str) -> Path:
        """Where the memory of that name lies, or would lie."""
        return self.path / "memories" / _hashed(name)

    def _aside(self, kind: str) -> Path:
        """A path for a folder that is ``new`` or ``gone``; no memory lies there."""
        return self.aside(f".{kind}-{secrets.token_hex(8)}")

    def aside(self, name: str) -> Path:
        """A path among the memories, of which the name begins with a dot."""
        return self.path / "memories" / name

    def lock(self, name: str, wait: float | None) -> Lock:
        """The lock of the name's only writer, taken.

        Raises:
            MemoryBusyError: another one holds it for longer than ``wait`` seconds.
        """
        return Lock(self.path / "locks" / _hashed(name), name, wait)

    def __contains__(self, name: str) -> bool:
        folder = self.folder(name)
        with self.named_errors():
            if not folder.is_dir():
                self._end_move(folder.name)
            return folder.is_dir() and not folder.is_symlink()

    def end_move(self, name: str) -> None:
        """Remove what a move of this memory left elsewhere, where it was cut short.

        To be called by whoever changes the memory: what is forgotten here must not stay there.
        """
        hashed = self.folder(name).name
        self._end_move(hashed)
        with suppress(OSError):
            recall(self.path, hashed, self.disk)

    def _end_move(self, hashed: str) -> None:
        """End a move of a memory from or to here that was cut short."""
        with suppress(OSError):  # somebody who may write here will
            end_move(self.path, hashed, self.disk)

    def manifest(self, name: str) -> Manifest:
        """What a memory consists of; needs no model.

        Raises:
            UnknownMemoryError: there is none of that name.
            CorruptMemoryError, MemoryVersionError.
        """
        folder = self.folder(name)
        try:
            with self.named_errors(missing=False):
                if folder.is_symlink():
                    raise UnknownMemoryError(name, store=self.path)
                if not folder.is_dir():
                    self._end_move(folder.name)
                found = Manifest.load(folder)
        except FileNotFoundError as error:
            raise UnknownMemoryError(name, store=self.path) from error
        if found.id != name:
            raise CorruptMemoryError(folder, reason="it holds a memory of another name")
        return found

    def memories(self) -> list[Manifest]:
        """Every memory's manifest, by name.

        Raises:
            CorruptMemoryError: one of them is damaged.
        """
        found: list[Manifest] = []
        with self.named_errors():
            for folder in self._folders():
                with suppress(FileNotFoundError):  # deleted meanwhile
                    found.append(Manifest.load(folder))
        return sorted(found, key=lambda manifest: manifest.id)

    def names(self) -> list[str]:
        """Every memory's name, in order; a folder that tells none is left out.

        A manifest is read once in the life of this object: its folder's name follows from the
        memory's, so whatever memory lies there later has the same one.

        Raises:
            StorageError: the system refused to look, or has no descriptor or memory left.
        """
        with self.named_errors():
            folders = {folder.name: folder for folder in self._folders()}
        known = self._names
        found = {hashed: known[hashed] for hashed in folders if hashed in known}
        for hashed in folders.keys() - found.keys():
            with self.named_errors():
                name = _named(folders[hashed])
            if name is not None:
                found[hashed] = name
        self._names = found
        return sorted(found.values())

    def count(self) -> int:
        """How many memories there are, damaged ones included."""
        with self.named_errors():
            return len(self._folders())

    def _folders(self) -> list[Path]:
        self._end_moves()
        with os.scandir(self.path / "memories") as entries:
            return [
                Path(entry.path)
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]

    def retried(self, name: str, attempt: Callable[[Manifest], _Result]) -> _Result:
        """Try again while another process changes what the manifest names.

        Whatever failed counts for nothing where the memory was changed meanwhile: SQLite calls it a
        failing disk when somebody takes away a journal that it reads or writes.

        Raises:
            CorruptMemoryError: a file is damaged or missing although nothing changes.
            StorageError: the disk refused although nothing changes.
        """
        manifest = self.manifest(name)
        for _ in range(_ATTEMPTS):
            try:
                with self.named_errors(missing=False):
                    return attempt(manifest)
            except (FileNotFoundError, CorruptMemoryError, StorageError) as error:
                before, manifest = manifest, self.manifest(name)
                if before != manifest:
                    continue
                if not isinstance(error, FileNotFoundError):
                    raise
                missing = Path(str(error.filename or "a file"))
                reason = f"{missing.name} is missing"
                raise CorruptMemoryError(self.folder(name), reason=reason) from error
        raise StorageError(self.folder(name), reason="it changes faster than it can be read")

    @contextmanager
    def arriving(self, name: str) -> Iterator[Folder]:
        """A folder made aside, which becomes the memory of that name when the block ends well."""
        if name in self:
            raise MemoryExistsError(name, store=self.path)
        with self.made_aside() as folder:
            yield folder
            self.settle(folder, name)

    def settle(self, folder: Folder, name: str) -> None:
        """Let a folder made aside be the memory of that name.

        Raises:
            MemoryExistsError: another machine was first.
        """
        try:
            self.disk.rename(folder.path, self.folder(name))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise MemoryExistsError(name, store=self.path) from error

    @contextmanager
    def made_aside(self) -> Iterator[Folder]:
        """A folder made aside, which is gone again when the block does not end well."""
        with shared(self._folders_lock):
            aside = self._aside("new")
            self.disk.make_folder(aside)
            try:
                yield Folder(aside, self.disk)
            except BaseException:
                with suppress(OSError):
                    self.disk.remove_tree(aside)
                raise

    def remove(self, name: str) -> None:
        """Remove a memory's folder; its lock is held.

        Raises:
            StorageError: the memory is still there whole, or, as the reason says, deleted although
                not all of its files could be removed.
        """
        with self.named_errors(), shared(self._folders_lock):
            aside = self._aside("gone")
            leave(self.folder(name), self.disk)
            self.disk.rename(self.folder(name), aside)
            try:
                self.disk.remove_tree(aside)
            except OSError as error:
                reason = f"the memory is deleted, but not all of its files could be ({error})"
                raise StorageError(aside, reason=reason, code=error.errno) from error


def _hashed(name: str) -> str:
    ok = isinstance(name, str) and 0 < len(name) <= _LONGEST_ID and name.isprintable()
    if not ok:
        reason = f"a memory's name has 1 to {_LONGEST_ID} printable characters"
        raise ConfigError("id", value=name, reason=reason)
    return hashlib.sha256(name.encode()).hexdigest()[:40]


def _named(folder: Path) -> str | None:
    """The name of a folder's memory; None where it tells none.

    Raises:
        OSError: the system is short of something, which is no folder's fault.
    """
    try:
        name = named_in(folder)
        return name if _hashed(name) == folder.name else None
    except (ValueError, KeyError, TypeError, RecursionError, ConfigError):
        return None
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise
        return None


def why_no_store(path: Path) -> str:
    """What a directory without a store's mark has in its place.

    Raises:
        OSError: the system refused to look.
    """
    mark = path / MARK
    if not mark.is_dir():
        return f"it holds no file `{MARK}`"
    meant = f" (did you mean {mark}?)" if (mark / MARK).is_file() else ""
    return f"its `{MARK}` is a folder{meant}"
