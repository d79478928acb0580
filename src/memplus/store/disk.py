"""Every change of the disk, one call each, so that a test can refuse or stop at any of them.

Files are made whole before anything names them, are never followed through symbolic links, and
are never changed afterwards, except that logs grow at their end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["Disk", "Sink", "read"]

_PIECE = 1 << 23
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = 0o600


class Sink:
    """A file being made or appended to."""

    def __init__(self, disk: Disk, path: Path, descriptor: int) -> None:
        self.disk = disk
        self.path = path
        self.descriptor = descriptor

    def write(self, content: bytes | memoryview) -> None:
        """All of it, in pieces."""
        view = memoryview(content).cast("B")
        while view:
            self.disk.step("write", self.path)
            view = view[os.write(self.descriptor, view[:_PIECE]) :]

    def write_at(self, content: bytes, offset: int) -> None:
        """Fill a gap that was left at ``offset``."""
        self.disk.step("write", self.path)
        if os.pwrite(self.descriptor, content, offset) != len(content):
            raise OSError(28, "the disk took only a part", str(self.path))

    def skip(self, offset: int) -> None:
        """Leave a gap up to ``offset``."""
        os.lseek(self.descriptor, offset, os.SEEK_SET)

    def flush(self) -> None:
        """Wait until the disk has it."""
        self.disk.step("fsync", self.path)
        os.fdatasync(self.descriptor)

    def close(self) -> None:
        """No more of it."""
        os.close(self.descriptor)


class _Once:
    """A call that is made by whoever comes first; whoever comes later waits for its end.

    Attributes:
        error: what it raised.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._call: Callable[[], None] | None = call
        self._turn = threading.Lock()

    def __call__(self) -> None:
        with self._turn:
            call, self._call = self._call, None
            try:
                if call is not None:
                    call()
            except BaseException as error:
                self.error = error


class Disk:
    """Calls of the operating system that change something."""

    _pool: ThreadPoolExecutor | None = None
    _pool_of = 0
    """The process that made it."""

    def step(self, call: str, path: Path) -> None:
        """Called before each change with its name; here it does nothing."""

    @contextlib.contextmanager
    def create(self, path: Path) -> Iterator[Sink]:
        """A new file, on the disk when the block ends well and gone when it does not."""
        self.step("create", path)
        sink = Sink(self, path, os.open(path, _NEW, _PRIVATE))
        try:
            yield sink
            sink.flush()
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            sink.close()

    def start(self, path: Path) -> Sink:
        """A new, empty file to append to."""
        self.step("create", path)
        return Sink(self, path, os.open(path, _NEW, _PRIVATE))

    def extend(self, path: Path, length: int) -> Sink:
        """A file to append to at ``length``; what lies beyond was never named and goes."""
        self.step("open", path)
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size != length:
                self.step("truncate", path)
                os.ftruncate(descriptor, length)
            os.lseek(descriptor, length, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return Sink(self, path, descriptor)

    def put_aside(self, content: bytes, temporary: Path) -> None:
        """A file that will take another's place; an older one of its name was never used."""
        temporary.unlink(missing_ok=True)
        with self.create(temporary) as sink:
            sink.write(content)

    def put_in_place(self, temporary: Path, path: Path) -> None:
        """Let it take that place in one step, and make that last."""
        self.step("rename", path)
        temporary.replace(path)
        self.sync(path.parent)

    def claim(self, temporary: Path, path: Path) -> bool:
        """Give a file a name that nobody has taken, and make that last; whether it got it.

        Of all processes of all machines that want the same name exactly one gets it.
        """
        self.step("link", path)
        try:
            os.link(temporary, path, follow_symlinks=False)
        except FileExistsError:
            # Where a server's answer is lost, the second request finds what the first one made.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(temporary.lstat(), path.lstat()):
                    self.sync(path.parent)
                    return True
            return False
        self.sync(path.parent)
        with contextlib.suppress(OSError):  # it is done; what is left of it is in nobody's way
            self.remove(temporary)
        return True

    def together(self, *calls: Callable[[], None]) -> None:
        """Do several things at once, most of which only wait for the disk.

        Raises:
            OSError, CorruptMemoryError: that of the first that failed, once all have ended.
            KeyboardInterrupt: maybe while some of it goes on; none must harm what comes next.
        """
        first, *others = [_Once(call) for call in calls]
        if self._pool is None or self._pool_of != os.getpid():  # a forked child has no threads
            self._pool, self._pool_of = ThreadPoolExecutor(2, "memplus-disk"), os.getpid()
        for one in others:
            # Once the main thread has ended no pool takes anything, and a system may have no
            # thread left to give; what no other thread has done by then is done here.
            with contextlib.suppress(RuntimeError):
                self._pool.submit(one)
        for one in (first, *others):
            one()
        for one in (first, *others):
            if one.error is not None:
                raise one.error

    def rename(self, old: Path, new: Path) -> None:
        """Rename, and make that last."""
        self.step("rename", new)
        old.rename(new)
        self.sync(new.parent)

    def sync(self, folder: Path) -> None:
        """Make the names in a folder last."""
        self.step("fsync", folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def share(self, old: Path, new: Path) -> None:
        """The same file under a second name; a copy where the file system knows no such thing."""
        self.step("link", new)
        try:
            os.link(old, new, follow_symlinks=False)
        except FileNotFoundError:
            raise
        except OSError:
            self.copy(old, new)

    def copy(self, old: Path, new: Path, length: int | None = None) -> None:
        """A file of its own with the same content, or its first ``length`` bytes."""
        with read(old) as source, self.create(new) as sink:
            left = length
            while piece := source.read(_PIECE if left is None else min(_PIECE, left)):
                sink.write(piece)
                left = None if left is None else left - len(piece)

    def remove(self, path: Path) -> None:
        """Remove a file that may be gone already."""
        self.step("unlink", path)
        path.unlink(missing_ok=True)

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder and all that is in it, also where some of it is gone already."""
        self.step("unlink", folder)
        shutil.rmtree(folder, onerror=_unless_gone)

    def make_folder(self, folder: Path) -> None:
        """A folder for the owner's eyes only."""
        self.step("mkdir", folder)
        folder.mkdir(mode=0o700)


def read(path: Path) -> BinaryIO:
    """Open a regular file for reading; a symbolic link is an ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(22, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def _unless_gone(call: object, path: str, error: tuple[Any, BaseException, Any]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
