"""Requests under an ``Idempotency-Key`` that are being answered, by whichever server.

A request is claimed in ``server.db`` before it is answered, so of all servers of a directory one
answers it. The claim names its server, and a file that this one keeps locked tells that it lives.
The lock goes with the process, whatever ends it, and with the lock go the claims. No clock is
asked.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import ExitStack, suppress
from pathlib import Path

from memplus.errors import StorageError
from memplus.server.database import ServerDatabase
from memplus.store.locks import alone

__all__ = ["SCHEMA", "Claims", "Held"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (
    tenant TEXT NOT NULL, key TEXT NOT NULL, name BLOB NOT NULL, digest BLOB NOT NULL,
    server TEXT NOT NULL, PRIMARY KEY (tenant, key, name)
) STRICT, WITHOUT ROWID;
"""
Held = tuple[str, str, bytes]
"""Tenant, id of the API key, keyed hash of the ``Idempotency-Key``."""
_THIS = "tenant = ? AND key = ? AND name = ?"
_PREFIX, _SUFFIX = "server-", ".lock"


class Claims:
    """What is being answered.

    Files are locked, looked at and removed inside transactions alone, so that no server takes
    another one's file, which is made but not locked yet, for that of one that has ended. Where the
    file system has no locks, each server knows its own requests only.

    Args:
        database: where they are.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        self._folder: Path = database.path.parent
        self._running: dict[Held, bytes] = {}
        self._server: str | None = None
        """What this process goes by; empty: there are no locks; None: it has claimed nothing."""
        self._lock = ExitStack()

    def taken(self, run: sqlite3.Connection, held: Held) -> bytes | None:
        """The digest of a request that is being answered, as part of a transaction."""
        running = self._running.get(held)
        if running is not None:
            return running
        query = f"SELECT digest, server FROM claims WHERE {_THIS}"
        row = run.execute(query, held).fetchone()
        mine = row is not None and row["server"] == self._server  # it could not be given up
        if row is None or mine or self._has_ended(row["server"]):
            return None
        return bytes(row["digest"])

    def take(self, run: sqlite3.Connection, held: Held, digest: bytes) -> None:
        """Claim a request that nobody answers, as part of a transaction; where that one fails,
        give it up."""
        self._running[held] = digest
        if self._server is None:
            self._begin(run)
        if self._server:
            values = (*held, digest, self._server)
            run.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)", values)

    def give_up(self, held: Held) -> None:
        """Let others answer it, or find its answer."""
        with suppress(StorageError):  # this process knows that it does not answer it any more
            if self._server:
                with self._database.transaction() as run:
                    run.execute(f"DELETE FROM claims WHERE {_THIS}", held)
        self._running.pop(held, None)

    def close(self) -> None:
        """Nothing more is answered."""
        with suppress(StorageError):  # whoever looks for this process does what is left
            if self._server:
                with self._database.transaction() as run:
                    run.execute("DELETE FROM claims WHERE server = ?", (self._server,))
                    self._path(self._server).unlink(missing_ok=True)
        self._lock.close()

    def _begin(self, run: sqlite3.Connection) -> None:
        """Be known to live, and take away what servers that have ended left."""
        for path in self._folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            ended = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
            if self._has_ended(ended):
                run.execute("DELETE FROM claims WHERE server = ?", (ended,))
        name = secrets.token_hex(8)
        self._server = name if self._lock.enter_context(alone(self._path(name))) else ""

    def _has_ended(self, server: str) -> bool:
        with alone(self._path(server)) as ended:
            if ended:
                self._path(server).unlink(missing_ok=True)
        return ended

    def _path(self, server: str) -> Path:
        return self._folder / f"{_PREFIX}{server}{_SUFFIX}"
