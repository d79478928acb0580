"""Files that are whole or not there: written aside, flushed, renamed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from memplus.errors.base import storage_error

__all__ = ["aside", "write_aside"]


@contextlib.contextmanager
def aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new file beside ``path`` that takes its place when the block ends well.

    Raises:
        NotFoundError: the folder of ``path`` is missing.
        StorageError: the disk refused; an older file is untouched, the new one is gone.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise storage_error(target, error) from error
    temporary = Path(name)
    try:
        os.close(handle)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        _flush_folder(target.parent)
    except OSError as error:
        raise storage_error(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


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
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
