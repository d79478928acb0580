"""What a server keeps beside the memories: one SQLite file in the directory of the store."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memplus.errors import MemoryVersionError, UsageError
from memplus.errors.base import storage_errors
from memplus.server import clock
from memplus.server.clock import Clock
from memplus.store.database import connect, refusals_named
from memplus.store.leases import OWNERS

__all__ = ["ServerDatabase", "database_folder", "database_of", "point_out"]

NAME = "server.db"
POINTER = "server.at"
"""In a store's other directories: where the file lies."""
VERSION = 1
_SCRUB_PATIENCE = 100
"""Milliseconds that are waited for readers of other processes."""
_MODE_PATIENCE = 1000
"""Milliseconds that are waited for others to close the file."""


def database_folder(paths: Sequence[Path]) -> Path:
    """Which of a store's directories has the file; of new ones the first.

    Raises:
        UsageError: several have one. Keys in another than the one that is read would not count.
    """
    found = [path for path in paths if (path / NAME).exists()]
    if len(found) > 1:
        listed = ", ".join(str(path) for path in found)
        raise UsageError(f"Only one of the directories may hold {NAME}, and these do: {listed}.")
    return (found or list(paths))[0]


def point_out(paths: Sequence[Path], folder: Path) -> None:
    """Let each of a store's directories say which of them has the file.

    So whoever is told of one directory alone finds what is kept of its memories.

    Raises:
        StorageError: the disk refused.
    """
    for path in paths:
        pointer, place = path / POINTER, str(folder.resolve())
        with storage_errors(pointer):
            if path == folder:
                pointer.unlink(missing_ok=True)
            elif not pointer.exists() or pointer.read_text("utf-8") != place:
                new = pointer.with_name(f"{POINTER}.{os.getpid()}")
                new.write_text(place, "utf-8")
                new.replace(pointer)


def database_of(path: Path) -> Path | None:
    """The directory with the file of the server that a store's directory belongs to, if any.

    Raises:
        UsageError: another directory had it, and has it no more.
        StorageError: the disk refused.
    """
    pointer = path / POINTER
    with storage_errors(pointer):
        if (path / NAME).exists():
            return path.resolve()
        if not pointer.exists():
            return None
        folder = Path(pointer.read_text("utf-8"))
        if not (folder / NAME).exists():
            raise UsageError(
                f"A server keeps notes of the memories in {path}, and {folder / NAME}, where they "
                f"were, is not there. Bring it back, or remove {pointer}."
            )
    return folder


class ServerDatabase:
    """Keys, conversations, responses and what waits to be written.

    A transaction is on the disk when it ends. Threads take turns; so do processes. Where several
    machines share the directory the file has no write-ahead log, which needs memory in common: the
    file system's locks decide whose turn it is.

    Attributes:
        clock: by which what is kept grows old.

    Args:
        folder: the store's directory.
        schema: tables, made where they are missing.

    Raises:
        StorageError: the disk refused; every method may raise it.
        CorruptMemoryError: the file is damaged.
        MemoryVersionError: a later release made it.
        UsageError: a server that was started before the directory was shared still has it open.
    """

    def __init__(self, folder: Path, schema: str) -> None:
        self.path = folder / NAME
        self._lock = threading.RLock()
        with storage_errors(self.path), refusals_named(self.path):
            self._connection = connect(self.path, "mode=rwc")
            self.path.chmod(0o600)
            self._set_mode("DELETE" if (folder / OWNERS).is_dir() else "WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.row_factory = sqlite3.Row
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise MemoryVersionError(self.path, found=version, supported=VERSION)
            self._connection.executescript(schema + clock.SCHEMA)
            self._connection.execute(f"PRAGMA user_version = {VERSION}")
            self.clock = Clock(self._connection)

    def _set_mode(self, mode: str) -> None:
        (patience,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
        self._connection.execute(f"PRAGMA busy_timeout = {_MODE_PATIENCE}")
        with contextlib.suppress(sqlite3.OperationalError):  # in use, as the next lines find out
            self._connection.execute(f"PRAGMA journal_mode = {mode}")
        self._connection.execute(f"PRAGMA busy_timeout = {patience}")
        (found,) = self._connection.execute("PRAGMA journal_mode").fetchone()
        if found != mode.lower():
            self._connection.close()
            raise UsageError(
                "Another server has this directory open and shares it with no other machine. "
                "Stop it first."
            )

    def close(self) -> None:
        """Done with it."""
        with self._lock:
            with contextlib.suppress(sqlite3.Error):  # the next one reckons from an earlier time
                self.clock.keep(self._connection, surely=True)
            self._connection.close()

    def widen(self, table: str, added: Mapping[str, str]) -> bool:
        """Give a table that an earlier release made the columns that it had not: name, kind.

        Returns:
            Whether there are new ones.
        """
        with self.transaction() as run:
            columns = {row["name"] for row in run.execute(f"PRAGMA table_info({table})")}
            new = added.keys() - columns
            for name in new:
                run.execute(f"ALTER TABLE {table} ADD COLUMN {name} {added[name]}")
        return bool(new)

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows of a query."""
        with self._lock, storage_errors(self.path), refusals_named(self.path):
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[object] = ()) -> Any:
        """The first row of a query, or None."""
        found = self.rows(query, values)
        return found[0] if found else None

    def scrub(self) -> None:
        """See that what was deleted stands in no file any more.

        Where another process reads right now, the log is emptied by a later call.
        """
        with self._lock, storage_errors(self.path), refusals_named(self.path):
            (patience,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
            self._connection.execute(f"PRAGMA busy_timeout = {_SCRUB_PATIENCE}")
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {patience}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Changes that become true together when the block ends, or not at all."""
        with self._lock, storage_errors(self.path), refusals_named(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self.clock.keep(self._connection)
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
