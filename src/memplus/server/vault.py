"""The one place where memories are opened, made and removed: nobody gets past his tenant here.

Every method takes the principal first and refuses a name that the principal does not see as one
that does not exist. A memory stays open for a while after its use; the least recently used one is
closed where too many are.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memplus.errors import MemoryExistsError, MemoryMismatchError, MemplusError
from memplus.server import wanted
from memplus.server.database import ServerDatabase
from memplus.server.faults import Fault, RequestFault
from memplus.server.opened import OpenMemories
from memplus.server.principals import NAME_RULE, Principal, Scope, names_a_memory
from memplus.server.settings import ServerSettings
from memplus.server.wanted import Wanted

if TYPE_CHECKING:
    from memplus.memory.packing import RowKind
    from memplus.mplus.model import MPlus
    from memplus.store import StoredMemory
    from memplus.store.journal import Commit
    from memplus.store.manifest import Manifest
    from memplus.store.sharded import AnyStore

__all__ = ["SCHEMA", "Listed", "Vault"]

SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS memories (
    stored TEXT PRIMARY KEY, metadata TEXT NOT NULL, used REAL NOT NULL
) STRICT;
"""
    + wanted.SCHEMA
)
_LOG = logging.getLogger("memplus.server")
_SWEEP_SECONDS = 0.5


@dataclass(frozen=True)
class Listed:
    """What is known of a memory without opening it."""

    name: str
    manifest: Manifest
    nbytes: int
    metadata: dict[str, str]
    used: float
    """Seconds since 1970 of its last use over this server; 0: none."""


async def _settled(stored: str) -> None:
    """Nothing waits to be written."""


@contextmanager
def _forking(stored: str, new: str) -> Iterator[None]:
    """Nothing is kept beside the memory."""
    yield


class _Rows:
    """What the vault keeps of memories beside the store: metadata, and when they were used."""

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database

    def get(self, stored: str) -> tuple[dict[str, str], float]:
        """Metadata and last use."""
        query = "SELECT metadata, used FROM memories WHERE stored = ?"
        row = self._database.row(query, (stored,))
        return ({}, 0.0) if row is None else (dict(json.loads(row["metadata"])), float(row["used"]))

    def put(self, stored: str, metadata: dict[str, str]) -> None:
        """Keep a memory's metadata."""
        with self._database.transaction() as run:
            run.execute(
                "INSERT INTO memories VALUES (?, ?, ?) ON CONFLICT (stored) DO UPDATE "
                "SET metadata = excluded.metadata",
                (stored, json.dumps(metadata), time.time()),
            )

    def use(self, uses: Mapping[str, float], store: AnyStore) -> None:
        """Keep when memories were used."""
        if not uses:
            return
        with self._database.transaction() as run:
            for stored, used in uses.items():
                # One that was deleted meanwhile leaves no name here. Who deletes takes the row away
                # after the memory, and waits for this transaction before that.
                if stored in store:
                    run.execute(
                        "INSERT INTO memories VALUES (?, '{}', ?) ON CONFLICT (stored) DO UPDATE "
                        "SET used = excluded.used",
                        (stored, used),
                    )


def _bound(memory: StoredMemory, most: int) -> None:
    """Let a memory that is about to be written to grow no larger than any may.

    One that was imported, or made by a command, may have another limit of its own, and going back
    to an earlier state gives back the limit of then.
    """
    if most and (memory.max_bytes is None or memory.max_bytes > most):
        memory.limit(most)


def _require_within(memory: StoredMemory, model: MPlus, most: int) -> None:
    """Refuse a memory that is larger than any may be; raises ``BudgetError``."""
    if most:
        bounded = memory.fork()  # the memory keeps its own limit
        bounded.max_bytes = most
        bounded.check_budget(0, model.core.row_bytes(memory.rows))


class Vault:
    """Memories of a store, opened for principals.

    Args:
        store: where they are.
        model: reads and writes them.
        settings: how many, how large, how long.
        database: what is kept beside them.

    Attributes:
        settled: awaited, with a memory's name in the store, before it is read or changed: what was
            acknowledged for it is written then.
        making: called with a memory's name in the store while it is made, when there is none and no
            other process may make one: another program may have deleted one of that name.
        forking: gives a block in which one is forked, by its name and the new one in the store.
        remove: deletes a memory, by its name in the store, and what is kept of it.
        give_out, take_in: export and import one, by its name in the store.

    Raises:
        RequestFault: of every method: the principal may not, or sees no such memory.
        MemplusError: of every method: the store's own errors.
    """

    def __init__(
        self, store: AnyStore, model: MPlus, settings: ServerSettings, database: ServerDatabase
    ) -> None:
        self.store = store
        self.model = model
        self.settings = settings
        self.settled: Callable[[str], Awaitable[None]] = _settled
        self.making: Callable[[str], object] = str
        self.forking: Callable[[str, str], AbstractContextManager[None]] = _forking
        self.remove: Callable[[str], object] = store.delete
        self.give_out: Callable[[str, Path], object] = store.export
        self.take_in: Callable[[Path, str], object] = store.import_memory
        self._rows = _Rows(database)
        self._open = OpenMemories(store, model, settings, Wanted(database))
        self._sweeper: asyncio.Task[None] | None = None
        self._used: dict[str, float] = {}

    # Using a memory -----------------------------------------------------------------------------

    @asynccontextmanager
    async def reading(self, who: Principal, name: str) -> AsyncIterator[StoredMemory]:
        """The memory as it is after all that was acknowledged; it stays open inside the block."""
        stored = self._allowed(who, name, "read")
        await self.settled(stored)
        self._used[stored] = time.time()
        async with self._open.using(stored, write=False) as memory:
            yield memory

    @asynccontextmanager
    async def writing(
        self, who: Principal, name: str, *, create: bool = False, settle: bool = True
    ) -> AsyncIterator[StoredMemory]:
        """The memory, to be changed: writers of one memory take turns in the order they came.

        Args:
            who: asks.
            name: as the tenant says it.
            create: make it where there is none.
            settle: wait for what was acknowledged before; the one who writes that does not.
        """
        stored = self._allowed(who, name, "write")
        if settle:
            await self.settled(stored)
        async with self._open.turn(stored):
            if create and stored not in self.store:
                with suppress(MemoryExistsError):  # another process made it meanwhile
                    await self._make(who, name, {}, seed=0, max_bytes=None, rows=None)
            self._used[stored] = time.time()
            async with self._open.using(stored, write=True) as memory:
                _bound(memory, self.settings.memory_bytes)
                yield memory

    def _allowed(self, who: Principal, name: str, scope: Scope) -> str:
        """The memory's name in the store, for one who may do that with it."""
        if not who.sees(name):
            raise RequestFault.unknown_memory(name)
        if not who.may(scope):
            raise RequestFault.forbidden(f"This key has no scope {scope!r}.")
        return who.stored(name)

    # Making and removing ------------------------------------------------------------------------

    async def create(
        self,
        who: Principal,
        name: str,
        metadata: dict[str, str] | None = None,
        *,
        seed: int = 0,
        max_bytes: int | None = None,
        rows: RowKind | None = None,
    ) -> None:
        """Make an empty memory; see ``MemoryStore.create``."""
        stored = self._allowed(who, name, "write")
        async with self._open.turn(stored):
            await self._make(who, name, metadata or {}, seed=seed, max_bytes=max_bytes, rows=rows)

    async def _make(self, who: Principal, name: str, metadata: dict[str, str], **how: Any) -> None:
        await self.check_new(who, name)
        most = self.settings.memory_bytes or None
        given = how.pop("max_bytes")
        limit = given if most is None else min(given or most, most)
        stored = who.stored(name)

        @contextmanager
        def within() -> Iterator[None]:
            self.making(stored)
            yield
            self._rows.put(stored, metadata)

        def make() -> None:
            self.store.make(stored, self.model, max_bytes=limit, within=within, **how)

        await self._open.once_free(stored, make)  # another process may be making it

    async def check_new(self, who: Principal, name: str) -> None:
        """Refuse a name that no memory may get, or one memory more than a tenant may have."""
        if not names_a_memory(name):
            raise RequestFault.invalid(f"{NAME_RULE[0].upper()}{NAME_RULE[1:]}.", "memory")
        most = self.settings.memories_per_tenant
        if not most or await asyncio.to_thread(len, self.store) < most:
            return  # all tenants together have fewer
        names = await asyncio.to_thread(self._names, Principal(who.tenant))
        if len(names) >= most:
            message = f"This tenant has {most} memories, as many as it may; delete one first."
            fault = Fault(429, "rate_limit_error", message, "too_many_memories", final=True)
            raise RequestFault(fault)

    async def delete(self, who: Principal, name: str) -> None:
        """Remove a memory, and what is kept of it beside the store; texts that wait for it go, too.

        So one that cannot be written to, because it is damaged or the disk is full, can be removed.
        """
        stored = self._allowed(who, name, "write")
        async with self._open.turn(stored):
            await self._open.drop(stored)
            await self._open.once_free(stored, lambda: self.remove(stored))

    async def fork(self, who: Principal, name: str, new_name: str) -> None:
        """A second memory that begins as this one; see ``MemoryStore.fork``."""
        stored = self._allowed(who, name, "read")
        new = self._allowed(who, new_name, "write")
        await self.check_new(who, new_name)
        await self.settled(stored)
        async with self._open.turn(new):
            self._require_free(new)

            @contextmanager
            def within() -> Iterator[None]:
                with self.forking(stored, new):
                    yield
                self._rows.put(new, self._rows.get(stored)[0])

            await self._open.once_free(new, lambda: self.store.fork(stored, new, within=within))

    async def export(self, who: Principal, name: str, path: Path) -> None:
        """Write a memory to one file; see ``MemoryStore.export``."""
        stored = self._allowed(who, name, "read")
        await self.settled(stored)
        await asyncio.to_thread(self.give_out, stored, path)

    async def check_import(self, who: Principal, name: str) -> str:
        """Refuse a memory that could not be imported, before it is sent; its name in the store."""
        stored = self._allowed(who, name, "write")
        await self.check_new(who, name)
        self._require_free(stored)
        return stored

    async def import_memory(self, who: Principal, name: str, path: Path) -> None:
        """Add a memory from a file of ``export``; see ``MemoryStore.import_memory``.

        Raises:
            BudgetError: it is larger than a memory may be.
        """
        stored = await self.check_import(who, name)
        async with self._open.turn(stored):
            self._require_free(stored)
            await self._open.once_free(stored, lambda: self.take_in(path, stored))
            try:
                with suppress(MemoryMismatchError):  # of another model, which writes nothing here
                    async with self._open.using(stored, write=True) as memory:
                        _require_within(memory, self.model, self.settings.memory_bytes)
            except BaseException:
                await self._open.drop(stored)
                await self._open.once_free(stored, lambda: self.remove(stored))
                raise

    def _require_free(self, stored: str) -> None:
        """Refuse a name that is taken before anybody waits for the memory's lock."""
        if stored in self.store:
            raise MemoryExistsError(stored, store=self.store.paths[0])

    # Looking ------------------------------------------------------------------------------------

    async def listed(
        self, who: Principal, *, after: str = "", limit: int | None = None
    ) -> list[Listed]:
        """The principal's memories, by name.

        Args:
            who: asks.
            after: only those whose names come after this one.
            limit: at most so many; None: all.
        """
        if not who.may("read"):
            raise RequestFault.forbidden("This key has no scope 'read'.")
        return await asyncio.to_thread(self._all_listed, who, after, limit)

    async def history(self, who: Principal, name: str) -> list[Commit]:
        """The states that a memory can go back to; see ``MemoryStore.history``."""
        stored = self._allowed(who, name, "read")
        await self.settled(stored)
        return await asyncio.to_thread(self.store.history, stored)

    async def look(self, who: Principal, name: str) -> Listed:
        """What is known of one memory without opening it."""
        stored = self._allowed(who, name, "read")
        await self.settled(stored)
        return await asyncio.to_thread(
            lambda: self._listed(name, self.store.manifest(stored), stored)
        )

    async def exists(self, who: Principal, name: str) -> bool:
        """Whether the principal has a memory of that name."""
        return who.sees(name) and await asyncio.to_thread(self.store.__contains__, who.stored(name))

    def _all_listed(self, who: Principal, after: str, limit: int | None) -> list[Listed]:
        found: list[Listed] = []
        for name in self._names(who):
            if limit is not None and len(found) >= limit:
                break
            stored = who.stored(name)
            with suppress(MemplusError):  # deleted meanwhile, or damaged
                if name > after:
                    found.append(self._listed(name, self.store.manifest(stored), stored))
        return found

    def _names(self, who: Principal) -> list[str]:
        """The names that the principal sees, in order."""
        found = (who.named(stored) for stored in self.store.names())
        return sorted(name for name in found if name is not None)

    def _listed(self, name: str, manifest: Manifest, stored: str) -> Listed:
        metadata, used = self._rows.get(stored)
        return Listed(name, manifest, self.store.size(stored), metadata, used)

    def on_opening(self, tell: Callable[[str], object]) -> None:
        """Call this with ``read`` or ``write`` whenever a memory was opened."""
        self._open.opening = tell

    @property
    def opened(self) -> int:
        """How many memories are open now."""
        return self._open.count

    @property
    def resident_bytes(self) -> int:
        """Bytes of the rows of all open memories."""
        return self._open.nbytes

    # Life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to close what is idle."""
        self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self._open.hand_over()
                await self._open.close_idle()
                await asyncio.to_thread(self._keep_uses)
            except MemplusError as error:
                _LOG.warning("open memories were not looked after: %s", type(error).__name__)

    def _keep_uses(self) -> None:
        uses, self._used = self._used, {}
        self._rows.use(uses, self.store)

    async def close(self) -> None:
        """Close every memory."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._keep_uses()
        await self._open.close()
