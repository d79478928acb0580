"""Files that come over the network, put beside the store until they are taken in.

The store's disk has room for memories; the system's folder for temporary files may be in RAM. Each
file is locked while it is used, so what a killed process left is known by its lock, which is free.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from io import FileIO
from pathlib import Path

from memplus.errors import StorageError
from memplus.errors.base import storage_errors
from memplus.store.locks import alone

__all__ = ["clear_received", "received", "require_space"]

_PREFIX = "incoming-"
_ATTEMPTS = 3
_COPIES = 2
"""The file that comes, and the memory that is made of it."""


@asynccontextmanager
async def received(pieces: AsyncIterator[bytes], folder: Path) -> AsyncIterator[Path]:
    """A file of what comes, gone when the block ends.

    Raises:
        StorageError: the disk refused.
    """
    with ExitStack() as stack:
        path = await asyncio.to_thread(lambda: stack.enter_context(_own(folder)))
        with storage_errors(path):
            file = stack.enter_context(path.open("wb", buffering=0))
        async for piece in pieces:
            await asyncio.to_thread(_put, file, piece, path)
        yield path


def require_space(folder: Path, nbytes: int) -> None:
    """Refuse a memory that the disk has no room for, before any of it is received.

    Args:
        folder: where it will be received.
        nbytes: of its file, as far as the client says.

    Raises:
        StorageError: there is too little room.
    """
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < _COPIES * nbytes:
        reason = f"it has {free} bytes left, and {_COPIES * nbytes} are needed"
        raise StorageError(folder, reason=reason, code=errno.ENOSPC)


def clear_received(folder: Path) -> None:
    """Remove what killed processes were receiving."""
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError), alone(path) as left:
            if left:
                path.unlink(missing_ok=True)


@contextmanager
def _own(folder: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        for _ in range(_ATTEMPTS):  # another process may have taken it for one that was left
            path = folder / f"{_PREFIX}{secrets.token_hex(8)}"
            with storage_errors(path):
                mine = stack.enter_context(alone(path))
            stack.callback(_remove, path)
            if mine and path.exists():
                break
        yield path


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _put(file: FileIO, piece: bytes, path: Path) -> None:
    left = memoryview(piece)
    with storage_errors(path):
        while left:
            left = left[file.write(left) :]
