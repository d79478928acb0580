"""Locks among all processes, each gone with the process that held it: one writer per memory, and
nobody who tidies a folder while another one fills it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self

from filelock import FileLock, Timeout

from memplus.errors import MemoryBusyError
from memplus.errors.base import storage_error

__all__ = ["Lock", "Right", "alone", "shared"]

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Right(Protocol):
    """The right to change one memory, until it is given up."""

    def release(self) -> None:
        """Let others have it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *details: object) -> None: ...


class Lock:
    """The right to change one memory.

    Args:
        path: the lock's file; it is never removed, so that all mean the same one.
        name: of the memory, for the error.
        wait: seconds to wait for it; None waits for ever.

    Raises:
        MemoryBusyError: somebody else holds it.
        StorageError: the lock's file cannot be made or opened, as on a read-only disk.
    """

    def __init__(self, path: Path, name: str, wait: float | None = 0.0) -> None:
        self._lock = FileLock(path, mode=0o600, thread_local=False)
        try:
            self._lock.acquire(timeout=-1 if wait is None else wait, poll_interval=0.02)
        except Timeout as error:
            raise MemoryBusyError(name) from error
        except OSError as error:
            raise storage_error(path, error) from error

    def release(self) -> None:
        """Let others have it."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.release()


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold a lock together with all others who hold it so; waits only for ``alone``.

    Raises:
        OSError: its file cannot be made or opened.
    """
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP):
                raise  # without locks nobody is ever alone, and nothing is tidied
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether the lock could be taken while nobody else holds it; does not wait.

    Raises:
        OSError: its file cannot be made or opened.
    """
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
