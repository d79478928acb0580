"""One writer per memory, among all processes: a lock that goes with the process that held it."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from memplus.errors import MemoryBusyError
from memplus.errors.base import storage_error

__all__ = ["Lock"]


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

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *details: object) -> None:
        self.release()
