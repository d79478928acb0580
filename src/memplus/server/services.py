"""What the routes work with, put together, and its life: loading, ready, draining."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal

from memplus.errors import MemplusError, UsageError
from memplus.server.beside import SCHEMA, Beside
from memplus.server.database import ServerDatabase, database_folder, point_out
from memplus.server.engine.engine import Engine
from memplus.server.engine.requests import EngineCounts
from memplus.server.faults import RequestFault
from memplus.server.intake import Entry, Intake
from memplus.server.keys import Keys
from memplus.server.measured import MeasuredEngine
from memplus.server.metrics import Metrics, Seldom
from memplus.server.principals import Principal
from memplus.server.receiving import clear_received
from memplus.server.settings import ServerSettings
from memplus.server.tally import Tally
from memplus.server.threads import divide, ended, settle
from memplus.server.vault import Vault

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus
    from memplus.store import StoredMemory
    from memplus.store.sharded import AnyStore

__all__ = ["Services", "require_keys"]

_LOG = logging.getLogger("memplus.server")
_POLL_SECONDS = 0.05
_THREADS = 32
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Services:
    """One server's parts.

    Args:
        store: the memories.
        load: makes the model; called once, in a thread, when the server starts.
        settings: the bounds.
        model_name: what clients call the model.
        tally: counts for several processes; None: this one counts for itself.

    Attributes:
        state: ``loading``, ``ready``, ``draining`` or ``failed``.
        loading: whether a thread is making the model, also where nobody waits for it any more.
        begun: seconds since 1970.
        beside: all that ``server.db`` keeps of memories; ``calls`` and ``ledger`` are its parts.

    Raises:
        UsageError: it would listen on the network without keys; several directories have a
            ``server.db``.
        StorageError, CorruptMemoryError, MemoryVersionError: of ``server.db``.
    """

    def __init__(
        self,
        store: AnyStore,
        load: Callable[[], MPlus],
        settings: ServerSettings,
        *,
        model_name: str,
        tally: Tally | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.model_name = model_name
        self.begun = time.time()
        self.state: Literal["loading", "ready", "draining", "failed"] = "loading"
        self.loading = False
        self.failure: Exception | None = None
        self.running_requests = 0
        self._until: float | None = None
        folder = database_folder(store.paths)
        self.database = ServerDatabase(folder, SCHEMA)
        point_out(store.paths, folder)
        self.keys = Keys(self.database)
        try:
            require_keys(settings, self.keys)
        except BaseException:
            self.database.close()
            raise
        self.metrics = Metrics()
        self._add_gauges()
        self.tally = tally or Tally(settings)
        self.intake = Intake(self.database, self._write_entry, settings.wait_seconds)
        self.beside = Beside(store, self.database, self.intake, settings)
        self.calls, self.ledger = self.beside.calls, self.beside.ledger
        self._load = load
        self._engine: Engine | None = None
        self._vault: Vault | None = None

    # Parts that the model is needed for ---------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """Runs the model.

        Raises:
            RequestFault: it is not loaded yet, or not any more.
        """
        if self._engine is None:
            raise self._not_ready()
        return self._engine

    @property
    def vault(self) -> Vault:
        """Opens memories.

        Raises:
            RequestFault: as ``engine``.
        """
        if self._vault is None:
            raise self._not_ready()
        return self._vault

    @property
    def model(self) -> MPlus:
        """The model.

        Raises:
            RequestFault: as ``engine``.
        """
        return self.vault.model

    async def loaded(self) -> None:
        """Wait until the model is there, or cannot be."""
        while self.state == "loading":
            await asyncio.sleep(_POLL_SECONDS)

    def require_ready(self) -> None:
        """Refuse new work while loading or draining.

        Raises:
            RequestFault: with how long to wait.
        """
        if self.state != "ready":
            raise self._not_ready()

    def _not_ready(self) -> RequestFault:
        if self.state == "draining":
            return RequestFault.unavailable("The server is about to stop.", "draining")
        if self.state == "failed":
            return RequestFault.unavailable("The model could not be loaded.", "failed", 60.0)
        return RequestFault.unavailable("The model is being loaded.", "loading", 2.0)

    def writable(self) -> bool:
        """Whether the store's directory takes files."""
        return all(os.access(path, os.W_OK) for path in self.store.paths)

    def _add_gauges(self) -> None:
        def engine(count: Callable[[EngineCounts], int]) -> Callable[[], float]:
            return lambda: count(self._engine.counts()) if self._engine else 0.0

        def vault(count: Callable[[Vault], int]) -> Callable[[], float]:
            return lambda: count(self._vault) if self._vault else 0.0

        add = self.metrics.gauge
        add("requests_running", "Answers being generated.", engine(lambda now: now.running))
        waiting = engine(lambda now: now.waiting + now.writes + now.calls)
        add("requests_waiting", "Questions, writes and searches that wait.", waiting)
        add("memories_open", "Memories whose rows are in RAM.", vault(lambda now: now.opened))
        rows = vault(lambda now: now.resident_bytes)
        add("resident_bytes", "Bytes of the rows of all open memories.", rows)
        add("store_bytes", "Bytes of all memories on the disk.", Seldom(self._store_bytes))

    def _store_bytes(self) -> float:
        try:
            names = self.store.names()
        except MemplusError:  # the other figures are wanted all the more
            return math.nan
        total = 0
        for name in names:
            with suppress(MemplusError):  # deleted meanwhile, or damaged
                total += self.store.size(name)
        return total

    # Life ---------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load in the background; what was acknowledged is written at the end."""
        settle()  # the engine divides as this thread does, which the next ones may precede
        # A few threads by default, of which large exports would leave none to anybody else.
        disk = ThreadPoolExecutor(_THREADS, "memplus-disk", initializer=divide, initargs=(1,))
        asyncio.get_running_loop().set_default_executor(disk)
        loading = asyncio.create_task(self._start())
        try:
            yield
        finally:
            self.drain()
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await self.intake.close(self.left)
            if self._engine is not None:
                await self._engine.close(self.left)
            if self._vault is not None:
                await self._vault.close()
            self.ledger.close()
            self.database.close()

    def drain(self) -> None:
        """Take no new work; from now on ``left`` runs."""
        self.state = "draining"
        if self._until is None:
            self._until = time.monotonic() + self.settings.shutdown_seconds

    @property
    def left(self) -> float:
        """Seconds until a server that drains has to end."""
        return max(0.0, (self._until or 0.0) - time.monotonic())

    async def give_up(self) -> None:
        """Let those whose answers and writes did not end in time hear that they will not."""
        if self._engine is not None:
            await self._engine.close(0.0)

    async def _start(self) -> None:
        try:
            await self._begin()
        except Exception as error:
            self.state, self.failure = "failed", error
            unforeseen = None if isinstance(error, MemplusError) else error  # the others say it all
            _LOG.error("the server cannot begin: %s", error, exc_info=unforeseen)

    def _load_model(self) -> MPlus:
        self.loading = True
        try:
            return self._load()
        finally:
            self.loading = False

    async def _begin(self) -> None:
        model = await ended(self._load_model)
        await asyncio.to_thread(self.beside.finish_all)
        await asyncio.to_thread(clear_received, self.database.path.parent)
        engine = MeasuredEngine(model, self.metrics)
        engine.start()
        self._engine = engine
        self._vault = Vault(self.store, model, self.settings, self.database)
        self._vault.settled = self.intake.settled
        self._vault.making, self._vault.remove = self.beside.made, self.beside.delete
        self._vault.forking = self.beside.forking
        self._vault.give_out, self._vault.take_in = self.beside.export, self.beside.import_memory
        self._vault.on_opening(lambda kind: self.metrics.memory_opens.labels(kind).inc())
        self._vault.start()
        self.intake.start()
        if self.state == "loading":
            self.state = "ready"

    # Writing what was taken in ------------------------------------------------------------------

    async def _write_entry(self, entry: Entry) -> None:
        who = Principal(entry.tenant, scopes=frozenset({"write"}))
        async with self.vault.writing(who, entry.memory, settle=False) as memory:
            if await asyncio.to_thread(self._must_write, memory, entry):
                await self.engine.write(memory, entry.text, source=entry.source, label=entry.id)

    def _must_write(self, memory: StoredMemory, entry: Entry) -> bool:
        """Whether a text is not in its memory, now that no other process can bring it there."""
        return self.intake.waits(entry.id) and not memory.has_label(entry.id)


def require_keys(settings: ServerSettings, keys: Keys) -> None:
    """Refuse to serve the network without keys.

    Raises:
        UsageError: it would.
    """
    if settings.host not in _LOOPBACK and not keys:
        raise UsageError(
            f"Without keys the server listens on this machine only, not on {settings.host}. "
            "Make one with `memplus keys add NAME --store DIR`."
        )
