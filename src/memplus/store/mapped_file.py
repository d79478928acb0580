"""A file's bytes as memory, without a descriptor that stays open.

Python's own maps keep one each, and a large memory has hundreds of segments.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref

__all__ = ["MappedFile"]

_system = ctypes.CDLL(None, use_errno=True)
_system.mmap.restype = ctypes.c_void_p
_system.mmap.argtypes = [
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_long),
]
_system.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_system.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED = ctypes.c_void_p(-1).value


class MappedFile:
    """All of an open file, private to this process; the file may be closed, renamed or removed.

    It is unmapped once neither this object nor anything made of ``view`` is left.

    Args:
        descriptor: of the file, open for reading.
        size: its bytes, at least one.

    Raises:
        OSError: the system refused.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        # Private and writable, though nothing writes: torch wants writable memory.
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
        address = _system.mmap(None, size, protection, flags, descriptor, 0)
        if address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._address = address
        self._size = size
        pages = (ctypes.c_ubyte * size).from_address(address)
        weakref.finalize(pages, _system.munmap, address, size).atexit = False
        self.view = memoryview(pages).cast("B")
        """Every byte."""

    def release(self) -> None:
        """Let the system take the pages back; they are read again from the file when needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            _system.madvise(self._address, self._size, mmap.MADV_DONTNEED)
