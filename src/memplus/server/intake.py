"""What was acknowledged and is not in its memory yet.

An answer does not wait for its turns to be written: they are taken in here first, in one
transaction with the conversation they belong to, and are as durable then as a write. A memory gets
them in the order they came; the commit that does it carries the entry's id as a label, so that
after a crash at any moment each entry is in its memory once.

Several processes may work on one memory's texts. Only the one that has the memory open for writing
writes, and once it has, it looks again whether its text still waits: another may have written it,
and what has been rolled back since must not come back.

A text that its memory refuses is kept. It is tried again when the next server starts, and one that
a full memory refused also once there may be room: after texts were forgotten, and after the next
one that the memory takes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from memplus.errors import (
    BudgetError,
    MemoryBusyError,
    OverloadedError,
    ReadOnlyMemoryError,
    ShuttingDownError,
    UnknownMemoryError,
    UsageError,
)
from memplus.server.chains import Chains
from memplus.server.database import ServerDatabase
from memplus.server.faults import RequestFault
from memplus.store.matching import holds

__all__ = ["SCHEMA", "Entry", "Intake"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS intake (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    memory TEXT NOT NULL, source TEXT NOT NULL, text TEXT NOT NULL, created REAL NOT NULL,
    refused TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS intake_by_memory ON intake (tenant, memory, number);
"""
_LARGEST = (1 << 63) - 1
"""No text has a larger number."""
_LOG = logging.getLogger("memplus.server")
_PAUSE_SECONDS = 1.0
_BUSY_SECONDS = 0.1
_REFUSALS = (UsageError,)
"""What no second try would change by itself: a full memory, or one that is gone. Whatever else
fails stops all texts of the memory until it has passed, as another model's memory does: a server
with the right model may follow this one."""
_FULL, _GONE = BudgetError.__name__, UnknownMemoryError.__name__
_PASSING = (OverloadedError, RequestFault, ShuttingDownError)
"""What passes by itself: too much at once."""
_TELL_SECONDS = 2.0
"""A disk that is full, or a damaged memory, for so long: who waits for it is told so."""
_MOST_SHOWN = 8
"""So many of the texts that a memory refused are named, the newest."""


@dataclass(frozen=True)
class Entry:
    """A text that waits for its memory."""

    id: str
    tenant: str
    memory: str
    """As the tenant calls it."""
    source: str
    text: str


class _Worker:
    """Brings texts to one memory as long as some wait, and tells those who wait for them."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._failing: float | None = None
        """Since when no text could be brought; None: they can."""
        self.brought = False
        """Whether a text was, since those that it had no room for were tried."""

    async def passed(self, number: int) -> None:
        """Wait until the text of that number and all before it wait no more."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((number, future))
        try:
            await future
        finally:
            self._waiting = [one for one in self._waiting if one[1] is not future]

    def reach(self, number: int | None) -> None:
        """All texts before that number wait no more; None: all of them."""
        for wanted, future in self._waiting:
            if not future.done() and (number is None or wanted < number):
                future.set_result(None)

    def went_on(self) -> None:
        """A text was brought, or need not be."""
        self._failing = None

    def failed(self, error: Exception) -> None:
        """A text could not be brought, for a reason that may last; who waits hears of it where it
        has lasted a while already."""
        now = time.monotonic()
        self._failing = now if self._failing is None else self._failing
        for _, future in self._waiting:
            if not future.done() and now - self._failing >= _TELL_SECONDS:
                future.set_exception(error)


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
        self._workers: dict[tuple[str, str], _Worker] = {}
        self._closing = False

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
        """Go on with what an earlier process left, also with what memories refused then: it may
        have had another model, other directories or lower limits."""
        if self._database.row("SELECT 1 FROM intake WHERE refused != '' LIMIT 1") is not None:
            with self._database.transaction() as run:
                run.execute("UPDATE intake SET refused = '' WHERE refused != ''")
        for row in self._database.rows("SELECT DISTINCT tenant, memory FROM intake"):
            self.work(row["tenant"], row["memory"])

    def work(self, tenant: str, memory: str) -> None:
        """See that what waits for a memory is brought to it."""
        self._worker(tenant, memory)

    def _worker(self, tenant: str, memory: str) -> _Worker:
        place = (tenant, memory)
        if place not in self._workers:
            worker = self._workers[place] = _Worker()
            # It outlives the request that starts it, and brings texts of others, too.
            alone = Context()
            worker.task = asyncio.create_task(self._bring(worker, place), context=alone)
        return self._workers[place]

    async def _bring(self, worker: _Worker, place: tuple[str, str]) -> None:
        try:
            while await self._brought_one(worker, place):
                pass
        finally:  # nothing else runs between the last look and this
            del self._workers[place]

    async def _brought_one(self, worker: _Worker, place: tuple[str, str]) -> bool:
        """Bring one text to its memory, or wait a little; whether there is more to be done."""
        id = "?"
        try:
            row = self._next(*place)
            if row is None and worker.brought:
                worker.brought = False
                await asyncio.to_thread(self.retry, "/".join(place))
                return True
            if row is None:
                worker.reach(None)
                return False
            worker.reach(row["number"])
            entry = Entry(*(row[name] for name in ("id", "tenant", "memory", "source", "text")))
            id = entry.id
            try:
                await self._write(entry)
            except (MemoryBusyError, ReadOnlyMemoryError):
                _LOG.info("text %s waits: another process has its memory", id)
                await asyncio.sleep(_BUSY_SECONDS)
            except _REFUSALS as error:
                await asyncio.to_thread(self._refuse, entry, error)
                worker.went_on()
            else:
                await asyncio.to_thread(self.done, id)
                worker.went_on()
                worker.brought = True
        except Exception as error:
            _LOG.warning("text %s waits: %s", id, type(error).__name__)
            if not isinstance(error, _PASSING):
                worker.failed(error)
                if self._closing:  # an end of the server is not put off by what may last
                    return False
            await asyncio.sleep(_PAUSE_SECONDS)
        return True

    def _next(self, tenant: str, memory: str) -> Any:
        return self._database.row(
            "SELECT number, id, tenant, memory, source, text FROM intake "
            "WHERE tenant = ? AND memory = ? AND refused = '' ORDER BY number LIMIT 1",
            (tenant, memory),
        )

    def _refuse(self, entry: Entry, error: Exception) -> None:
        """It cannot be written now: it is kept, told of, and holds up no other."""
        _LOG.error("text %s cannot be written: %s", entry.id, type(error).__name__)
        with self._database.transaction() as run:
            run.execute(
                "UPDATE intake SET refused = ? WHERE id = ?", (type(error).__name__, entry.id)
            )

    def retry(self, stored: str) -> None:
        """Let the texts that a memory had no room for wait again; ``work`` brings them, and so does
        the next look at the memory."""
        tenant, _, memory = stored.rpartition("/")
        query = "FROM intake WHERE tenant = ? AND memory = ? AND refused = ?"
        if self._database.row(f"SELECT 1 {query} LIMIT 1", (tenant, memory, _FULL)) is None:
            return
        with self._database.transaction() as run:
            run.execute(
                "UPDATE intake SET refused = '' WHERE tenant = ? AND memory = ? AND refused = ?",
                (tenant, memory, _FULL),
            )

    def done(self, id: str) -> None:
        """An entry is in its memory, or has no memory any more."""
        with self._database.transaction() as run:
            run.execute("DELETE FROM intake WHERE id = ?", (id,))

    def waits(self, id: str) -> bool:
        """Whether an entry is not in its memory yet."""
        query = "SELECT 1 FROM intake WHERE id = ? AND refused = ''"
        return self._database.row(query, (id,)) is not None

    def among(self, tenant: str, memory: str, ids: Iterable[str]) -> dict[str, str]:
        """Those of some texts that are here, and why their memory refused them; empty: they wait
        for it."""
        wanted = set(ids)
        rows = self._database.rows(
            "SELECT id, refused FROM intake WHERE tenant = ? AND memory = ?", (tenant, memory)
        )
        return {row["id"]: row["refused"] for row in rows if row["id"] in wanted}

    def texts(self, tenant: str, memory: str) -> list[str]:
        """The texts that wait for a memory, in order."""
        rows = self._database.rows(
            "SELECT text FROM intake WHERE tenant = ? AND memory = ? AND refused = '' "
            "ORDER BY number",
            (tenant, memory),
        )
        return [row["text"] for row in rows]

    @property
    def working(self) -> int:
        """How many memories are being brought what waits for them."""
        return len(self._workers)

    def waiting(self, tenant: str, memory: str) -> int:
        """How many texts wait for a memory."""
        row = self._database.row(
            "SELECT count(*) FROM intake WHERE tenant = ? AND memory = ? AND refused = ''",
            (tenant, memory),
        )
        return int(row[0])

    def refused(self, tenant: str, memory: str) -> dict[str, str]:
        """Ids of the newest texts that a memory could not take, and why: the name of an error."""
        rows = self._database.rows(
            "SELECT id, refused FROM intake WHERE tenant = ? AND memory = ? AND refused != '' "
            "ORDER BY number DESC LIMIT ?",
            (tenant, memory, _MOST_SHOWN),
        )
        return {row["id"]: row["refused"] for row in rows}

    def more_refused(self, tenant: str, memory: str) -> int:
        """How many more texts a memory could not take than ``refused`` names."""
        row = self._database.row(
            "SELECT count(*) FROM intake WHERE tenant = ? AND memory = ? AND refused != ''",
            (tenant, memory),
        )
        return max(0, int(row[0]) - _MOST_SHOWN)

    async def settled(self, stored: str) -> None:
        """Wait until what was taken in for a memory so far is in it, whatever comes meanwhile.

        Raises:
            RequestFault: it takes longer than the server waits.
            MemplusError: it cannot be written, such as on a full disk or into a damaged memory.
        """
        tenant, _, memory = stored.rpartition("/")
        row = self._database.row(
            "SELECT max(number) FROM intake WHERE tenant = ? AND memory = ? AND refused = ''",
            (tenant, memory),
        )
        if row[0] is None:
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._worker(tenant, memory).passed(row[0])
        except TimeoutError as error:
            message = "What was said to this memory before is still being written."
            raise RequestFault.unavailable(message, "memory_busy", 2.0) from error

    def drop(self, stored: str, upto: int | None = None) -> None:
        """Forget what waits for a memory that is deleted, or what came up to a number."""
        tenant, _, memory = stored.rpartition("/")
        with self._database.transaction() as run:
            run.execute(
                "DELETE FROM intake WHERE tenant = ? AND memory = ? AND number <= ?",
                (tenant, memory, _LARGEST if upto is None else upto),
            )

    def drop_lost(self, stored: str) -> None:
        """Forget what was for a memory that is gone: another of its name is about to be made."""
        tenant, _, memory = stored.rpartition("/")
        with self._database.transaction() as run:
            run.execute(
                "DELETE FROM intake WHERE tenant = ? AND memory = ? AND refused = ?",
                (tenant, memory, _GONE),
            )

    def leave(self, stored: str, upto: int) -> None:
        """Do not bring what came up to a number: the memory has gone back to what it was before."""
        tenant, _, memory = stored.rpartition("/")
        with self._database.transaction() as run:
            run.execute(
                "DELETE FROM intake WHERE tenant = ? AND memory = ? AND refused = '' "
                "AND number <= ?",
                (tenant, memory, upto),
            )

    def forget(self, stored: str, source: str | None, match: str | None) -> int:
        """Forget texts that a memory could not take, as it forgets those that it took.

        Args:
            stored: the memory.
            source: all that came under this name.
            match: all that hold this, whatever the case.

        Returns:
            How many.
        """
        gone = self.named(stored, source, match)
        tenant, _, memory = stored.rpartition("/")
        with self._database.transaction() as run:
            run.executemany("DELETE FROM intake WHERE id = ?", [(one,) for one in gone])
            Chains.keep(run, tenant, memory, gone)  # a client that sends them again changes nothing
        return len(gone)

    def named(self, stored: str, source: str | None, match: str | None) -> list[str]:
        """Ids of the texts that ``forget``, given the same, takes away."""
        tenant, _, memory = stored.rpartition("/")
        rows = self._database.rows(
            "SELECT id, source, text FROM intake WHERE tenant = ? AND memory = ?", (tenant, memory)
        )
        return [
            row["id"] for row in rows
            if row["source"] == source or (match is not None and holds(row["text"], match))
        ]  # fmt: skip

    async def close(self, timeout: float) -> None:
        """Bring what can be brought in time; the rest waits for the next start."""
        self._closing = True
        tasks = [worker.task for worker in self._workers.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
