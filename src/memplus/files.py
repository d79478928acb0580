"""Files that are whole or not there, and changed by one process at a time.

A file is written aside, flushed and renamed. Who reads one, changes it and writes it again holds
its lock meanwhile (``locked``), so that nobody's change is lost.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from memplus.errors import MemoryBusyError, NotFoundError, UsageError
from memplus.errors.base import storage_error, storage_errors

__all__ = ["as_path", "aside", "flush", "is_left", "locked", "refuse_place_in_store", "write_aside"]

_POLL_SECONDS = 0.02
_SUFFIX = ".aside"
_LEFT_SECONDS = 24 * 3600
_STORE_ENTRIES = ("store", "memories", "locks")
"""What lies in every store's directory (``memplus.store``)."""


def as_path(path: object) -> Path:
    """A caller's path.

    Raises:
        UsageError: it is none, is empty, or holds a character that no path can hold.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise UsageError(f"A path is a text or a pathlib.Path, not {type(path).__name__}.")
    if not os.fspath(path):
        raise UsageError("The path is empty; it must name a file or a folder.")
    if "\0" in os.fspath(path):
        raise UsageError("A path cannot hold the character U+0000.")
    return Path(path)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], *, wait: float | None = 0.0) -> Iterator[None]:
    """Be the only process and thread that reads ``path``, changes what it read and writes it again.

    All of them must ask for the lock: the file ``.NAME.lock`` beside it, which is gone when the
    block ends; one that a killed process left behind holds nobody up. Reading alone needs no lock:
    a file is replaced in one step.

    Args:
        path: a file, which need not exist.
        wait: seconds to wait for another holder; None waits for ever.

    Raises:
        UsageError: the path names no file.
        MemoryBusyError: another process or thread holds the lock for longer than ``wait``.
        NotFoundError: its folder is missing.
        StorageError: nothing can be written beside it.
    """
    target = _named(path)
    place = target.with_name(f".{target.name}.lock")
    if not target.parent.is_dir():  # filelock would make one
        raise NotFoundError(target.parent, kind="folder")
    lock = FileLock(place, thread_local=False)
    try:
        lock.acquire(timeout=-1 if wait is None else wait, poll_interval=_POLL_SECONDS)
    except Timeout as error:
        raise MemoryBusyError(str(target)) from error
    except OSError as error:
        raise storage_error(target, error) from error
    try:
        yield
    finally:
        # While it is held: whoever opened the file before finds it unlinked and makes a new one.
        with contextlib.suppress(OSError):
            place.unlink()
        lock.release()


@contextlib.contextmanager
def aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new file beside ``path`` that takes its place when the block ends well.

    A symbolic link stays, and what it leads to is replaced. What killed processes left of their new
    files for the same place is removed once it is a day old.

    Raises:
        UsageError: the path names no file, leads to what is none, such as a device, or leads into a
            store of memories, whose files are its own.
        NotFoundError: the folder of ``path`` is missing.
        StorageError: the disk refused; an older file is untouched, the new one is gone.
    """
    target = _named(path)
    _refuse_what_is_no_file(path)
    refuse_place_in_store(target)
    with storage_errors(target):  # also those that a library which writes the file has words for
        begin = f".{target.name}."
        handle, name = tempfile.mkstemp(prefix=begin, suffix=_SUFFIX, dir=target.parent)
        temporary = Path(name)
        try:
            os.close(handle)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(target)
            _flush_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
        _remove_left(target)


def _remove_left(target: Path) -> None:
    """Remove new files for a place that nobody has written to for a day: their writers are gone."""
    begin = f".{target.name}."
    with contextlib.suppress(OSError):
        for one in os.scandir(target.parent):
            ours = one.name.startswith(begin) and one.name.endswith(_SUFFIX)
            if ours and one.is_file(follow_symlinks=False) and is_left(one):
                os.unlink(one)


def is_left(entry: os.DirEntry[str]) -> bool:
    """Whether what was written aside has not been touched for a day, longer than any save lasts.

    Raises:
        OSError: it is gone meanwhile.
    """
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFT_SECONDS


def _named(path: str | os.PathLike[str]) -> Path:
    """The file that a path means: of a symbolic link what it leads to.

    Raises:
        UsageError: it is none, as "", "." and "/" are.
    """
    given = Path(path)
    if not given.name:
        raise UsageError(f"{os.fspath(path)!r} names no file.")
    return Path(os.path.realpath(given)) if given.is_symlink() else given


def _refuse_what_is_no_file(path: str | os.PathLike[str]) -> None:
    """Refuse to put a file in the place of a folder, a device, a pipe or a socket.

    Raises:
        UsageError: the path, or what it leads to, is one.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:  # nothing is there, or whoever writes there is told why not
        return
    if stat.S_ISDIR(mode):
        raise UsageError(f"{os.fspath(path)} is a folder, but a file is needed.")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{os.fspath(path)} is no regular file; give another place.")


def refuse_place_in_store(path: Path) -> None:
    """Refuse to write where a store of memories keeps its files.

    Raises:
        UsageError: the path leads into one.
    """
    place = Path(os.path.realpath(path.parent))
    for folder in (place, *place.parents):
        if all(os.path.exists(folder / name) for name in _STORE_ENTRIES):
            raise UsageError(
                f"{path} lies in the store of memories {folder}, whose files are its own. "
                "Choose another place."
            )


def write_aside(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file's content in one step.

    Raises:
        NotFoundError, StorageError: as ``aside``.
    """
    with aside(path) as temporary:
        temporary.write_bytes(content)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system can.

    The new file is in place by now, so a refusal here is no failure to store it.
    """
    with contextlib.suppress(OSError):
        flush(folder)


def flush(path: Path) -> None:
    """Wait until the disk has a file's content, or a folder's names.

    Raises:
        OSError: the disk refused.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
