"""SQLite as the store uses it: opened without writing where nothing may be written, and what the
system refuses told apart from damage.

A database in WAL mode wants two files beside it, which a reader of a read-only or full disk cannot
make. A closed one needs neither: it is read as it lies, and a change by somebody else meanwhile is
an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from memplus.errors import CorruptMemoryError
from memplus.store.bounded import Budget, bound

__all__ = ["Database", "companions", "connect", "refusals_named", "unapplied"]

_PATIENCE = 10.0
"""Seconds to wait for a lock that a commit of another process holds."""
_CODES = {
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EAGAIN,
    sqlite3.SQLITE_LOCKED: errno.EAGAIN,
    sqlite3.SQLITE_PROTOCOL: errno.EAGAIN,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_NOLFS: errno.EFBIG,
}
"""SQLite's own number -> the system's, for what is no fault of the file."""
_NO_SIDE_FILES = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
}
_SPARE_DESCRIPTORS = 4
_SPARE_BYTES = 1 << 16
_Probe = Callable[[sqlite3.Connection], object]


def companions(name: str) -> set[str]:
    """The files that SQLite keeps beside a database, and the database."""
    return {name, f"{name}-wal", f"{name}-shm", f"{name}-journal"}


def unapplied(path: Path) -> list[Path]:
    """The files beside a database that hold changes of it, or what undoes half of one."""
    found = [path.with_name(f"{path.name}-{kind}") for kind in ("wal", "journal")]
    return [file for file in found if file.exists()]


def connect(path: Path, options: str) -> sqlite3.Connection:
    """A connection; ``options`` are those of SQLite's file names, such as ``mode=rw``."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_PATIENCE,
    )
    try:
        bound(connection)
    except BaseException:
        connection.close()
        raise
    # Names of files that are no UTF-8 come and go as Python writes them.
    connection.text_factory = lambda text: text.decode("utf-8", "surrogatepass")
    return connection


@contextlib.contextmanager
def refusals_named(path: Path) -> Iterator[None]:
    """What SQLite raises inside becomes an ``OSError`` with the system's number, or damage.

    Raises:
        OSError: the system refused: no descriptor, no permission, no space, a failing disk.
        CorruptMemoryError: the file itself is at fault.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise CorruptMemoryError(
            path, reason=f"it holds a text that is not UTF-8 ({error})"
        ) from error
    except sqlite3.Error as error:
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if primary not in _CODES:
            raise CorruptMemoryError(path, reason=str(error)) from error
        raise _refusal(path, primary, str(error)) from error


def _refusal(path: Path, primary: int, text: str) -> OSError:
    """The system's reason, which SQLite does not tell, as far as it can be found out."""
    code = _CODES[primary]
    if primary == sqlite3.SQLITE_CANTOPEN and (short := _short_of_descriptors()):
        code = short
    elif primary == sqlite3.SQLITE_IOERR and _is_full(path.parent):
        code = errno.ENOSPC
    elif primary not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY):
        return OSError(code, text, str(path))
    return OSError(code, os.strerror(code), str(path))


def _short_of_descriptors() -> int | None:
    # Never the database's own file: closing it would give up this process's locks on it.
    held: list[int] = []
    try:
        for _ in range(_SPARE_DESCRIPTORS):
            held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno
    finally:
        for descriptor in held:
            os.close(descriptor)
    return None


def _is_full(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _SPARE_BYTES


class Database:
    """One open file of SQLite.

    Args:
        path: the file.
        probe: is called with each connection that is tried, and reads a table: every file that is
            needed is open after it, and a writer may remove their names.
        writable: whether it may be changed; a reader changes nothing.

    Raises:
        FileNotFoundError: there is none.
        OSError: the system refused.
        CorruptMemoryError: it is damaged.
    """

    def __init__(self, path: Path, probe: _Probe, *, writable: bool) -> None:
        self.path = path
        if path.is_symlink() or not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "there is no journal", str(path))
        self._stamp: tuple[int, ...] | None = None
        with refusals_named(path):
            self.connection = self._opened(probe, writable=writable)
        self._budget = Budget(self.connection, path)

    def _opened(self, probe: _Probe, *, writable: bool) -> sqlite3.Connection:
        if writable:
            connection = _probed(self.path, "mode=rw", probe)
            connection.execute("PRAGMA synchronous = FULL")
            return connection
        try:
            connection = _probed(self.path, "mode=ro", probe)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _NO_SIDE_FILES or _short_of_descriptors():
                raise
            connection = self._without_side_files(probe)
        if not self.path.exists():
            # Its log may have gone before it was opened; the newest rows would be missing then.
            connection.close()
            raise FileNotFoundError(errno.ENOENT, "the journal was removed", str(self.path))
        return connection

    def _without_side_files(self, probe: _Probe) -> sqlite3.Connection:
        """Open it where SQLite cannot make its files beside it."""
        if not any(file.stat().st_size for file in unapplied(self.path)):
            self._stamp = _stamp(self.path)
            return _probed(self.path, "mode=ro&immutable=1", probe)
        # A writer ended without closing it: the log has to be applied, and that needs a copy.
        with tempfile.TemporaryDirectory(prefix="memplus-") as folder:
            copy = Path(folder) / self.path.name
            for file in (self.path, *unapplied(self.path)):
                shutil.copyfile(file, copy.with_name(file.name), follow_symlinks=False)
            return _probed(copy, "mode=rw", probe)

    def close(self) -> None:
        """Done with it."""
        self.connection.close()

    def rows(self, query: str, values: Sequence[object] = ()) -> Iterator[Any]:
        """The rows of a query.

        Raises:
            OSError: the system refused, or another process changed a file that is read as it lies.
            CorruptMemoryError: it is damaged.
        """
        self._budget.renew()
        with refusals_named(self.path), self._budget.watched():
            if self._stamp is None:
                yield from self.connection.execute(query, values)
                return
            try:
                found = self.connection.execute(query, values).fetchall()
            finally:
                self._check_unchanged()
        yield from found

    def change(self, statement: str, values: Sequence[object] = ()) -> None:
        """Run a statement that changes something.

        Raises:
            OSError, CorruptMemoryError: as ``rows``.
        """
        self._budget.renew()
        with refusals_named(self.path), self._budget.watched():
            self.connection.execute(statement, values)

    def _check_unchanged(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if _stamp(self.path) == self._stamp:
                return
        reason = "another process changed it meanwhile; open the memory again"
        raise OSError(errno.ESTALE, reason, str(self.path))


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _probed(path: Path, options: str, probe: _Probe) -> sqlite3.Connection:
    connection = connect(path, options)
    try:
        with Budget(connection, path).watched():
            probe(connection)
    except BaseException:
        connection.close()
        raise
    return connection
