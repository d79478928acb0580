"""What was acknowledged and is not in its memory yet.

An answer does not wait for its turns to be written: they are taken in here first, in one
transaction with the conversation they belong to, and are as durable then as a write. A memory gets
them in the order they came; the commit that does it carries the entry's id as a label, so that
after a crash at any moment each entry is in its memory once.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from memplus.errors import MemoryMismatchError, MemplusError, UsageError
from memplus.server.database import ServerDatabase
from memplus.server.faults import RequestFault

__all__ = ["SCHEMA", "Entry", "Intake"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS intake (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    memory TEXT NOT NULL, source TEXT NOT NULL, text TEXT NOT NULL, created REAL NOT NULL,
    refused TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS intake_by_memory ON intake (tenant, memory, number);
"""
_LOG = logging.getLogger("memplus.server")
_PAUSE_SECONDS = 1.0
_FINAL = (UsageError, MemoryMismatchError)
"""What no second try would change: a full memory, one that is gone, another model's."""


@dataclass(frozen=True)
class Entry:
    """A text that waits for its memory."""

    id: str
    tenant: str
    memory: str
    """As the tenant calls it."""
    source: str
    text: str


class Intake:
    """Takes texts in, and brings them to their memories one after the other.

    Args:
        database: where they wait.
        write: brings one entry to its memory, unless its label says that it is there.
        patience: seconds that a reader waits for what was taken in before.
    """

    def __init__(
        self, database: ServerDatabase, write: Callable[[Entry], Awaitable[None]], patience: float
    ) -> None:
        self._database = database
        self._write = write
        self._patience = patience
        self._workers: dict[tuple[str, str], asyncio.Task[None]] = {}

    @staticmethod
    def put(run: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        """Take texts in as part of a transaction; call ``work`` once it has ended."""
        now = time.time()
        run.executemany(
            "INSERT INTO intake (id, tenant, memory, source, text, created) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [(one.id, one.tenant, one.memory, one.source, one.text, now) for one in entries],
        )

    @staticmethod
    def new_id() -> str:
        """An id that no other entry has."""
        return secrets.token_hex(8)

    def start(self) -> None:
        """Go on with what an earlier process left."""
        for row in self._database.rows(
            "SELECT DISTINCT tenant, memory FROM intake WHERE refused = ''"
        ):
            self.work(row["tenant"], row["memory"])

    def work(self, tenant: str, memory: str) -> None:
        """See that what waits for a memory is brought to it."""
        task = self._workers.get((tenant, memory))
        if task is None or task.done():
            self._workers[tenant, memory] = asyncio.create_task(self._bring(tenant, memory))

    async def _bring(self, tenant: str, memory: str) -> None:
        while (entry := self._next(tenant, memory)) is not None:
            try:
                await self._write(entry)
            except asyncio.CancelledError:
                raise
            except _FINAL as error:
                self._refuse(entry, error)
            except Exception as error:
                _LOG.warning("text %s waits: %s", entry.id, type(error).__name__)
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                self.done(entry.id)

    def _next(self, tenant: str, memory: str) -> Entry | None:
        row = self._database.row(
            "SELECT id, tenant, memory, source, text FROM intake "
            "WHERE tenant = ? AND memory = ? AND refused = '' ORDER BY number LIMIT 1",
            (tenant, memory),
        )
        return None if row is None else Entry(*row)

    def _refuse(self, entry: Entry, error: Exception) -> None:
        """It can never be written: it is kept, told of, and not tried again."""
        _LOG.error("text %s cannot be written: %s", entry.id, type(error).__name__)
        with suppress(MemplusError), self._database.transaction() as run:
            run.execute(
                "UPDATE intake SET refused = ? WHERE id = ?", (type(error).__name__, entry.id)
            )

    def done(self, id: str) -> None:
        """An entry is in its memory, or has no memory any more."""
        with self._database.transaction() as run:
            run.execute("DELETE FROM intake WHERE id = ?", (id,))

    def waiting(self, tenant: str, memory: str) -> int:
        """How many texts wait for a memory."""
        row = self._database.row(
            "SELECT count(*) FROM intake WHERE tenant = ? AND memory = ? AND refused = ''",
            (tenant, memory),
        )
        return int(row[0])

    def refused(self, tenant: str, memory: str) -> dict[str, str]:
        """Ids of the texts that a memory could not take, and why: the name of an error."""
        rows = self._database.rows(
            "SELECT id, refused FROM intake WHERE tenant = ? AND memory = ? AND refused != ''",
            (tenant, memory),
        )
        return {row["id"]: row["refused"] for row in rows}

    async def settled(self, stored: str) -> None:
        """Wait until what was taken in for a memory is in it.

        Raises:
            RequestFault: it takes longer than the server waits.
        """
        tenant, _, memory = stored.rpartition("/")
        task = self._workers.get((tenant, memory))
        if task is None or task.done():
            if not self.waiting(tenant, memory):
                return
            self.work(tenant, memory)
            task = self._workers[tenant, memory]
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.shield(task)
        except TimeoutError as error:
            message = "What was said to this memory before is still being written."
            raise RequestFault.unavailable(message, "memory_busy", 2.0) from error

    def drop(self, stored: str) -> None:
        """Forget what waits for a memory that is deleted."""
        tenant, _, memory = stored.rpartition("/")
        with self._database.transaction() as run:
            run.execute("DELETE FROM intake WHERE tenant = ? AND memory = ?", (tenant, memory))

    def forget(self, stored: str, source: str | None, match: str | None) -> int:
        """Forget texts that a memory could not take, as it forgets those that it took.

        Args:
            stored: the memory.
            source: all that came under this name.
            match: all that hold this, whatever the case.

        Returns:
            How many.
        """
        tenant, _, memory = stored.rpartition("/")
        rows = self._database.rows(
            "SELECT id, source, text FROM intake WHERE tenant = ? AND memory = ?", (tenant, memory)
        )
        gone = [
            row["id"] for row in rows
            if row["source"] == source
            or (match is not None and match.casefold() in row["text"].casefold())
        ]  # fmt: skip
        with self._database.transaction() as run:
            run.executemany("DELETE FROM intake WHERE id = ?", [(one,) for one in gone])
        return len(gone)

    async def close(self, timeout: float) -> None:
        """Bring what can be brought in time; the rest waits for the next start."""
        tasks = [task for task in self._workers.values() if not task.done()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
