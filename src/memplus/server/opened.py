"""Memories that are open in this process: whose turn it is to write, which are closed when."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from memplus.errors import MemoryBusyError, MemplusError
from memplus.server.faults import RequestFault
from memplus.server.settings import ServerSettings
from memplus.server.threads import in_thread
from memplus.server.wanted import Wanted

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus
    from memplus.store import StoredMemory
    from memplus.store.sharded import AnyStore

__all__ = ["OpenMemories"]

_POLL_SECONDS = 0.05
_ASK_SECONDS = 0.5
_Result = TypeVar("_Result")


@dataclass
class _Handle:
    """A memory that is open, and how many use it now."""

    memory: StoredMemory
    users: int = 0
    used: float = field(default_factory=time.monotonic)
    retired: bool = False
    """A newer one has taken its place; the last user closes it."""


@dataclass
class _Place:
    """One memory of the store, as this process holds it."""

    handle: _Handle | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Whose turn it is to write; first come, first served."""
    waiting: int = 0
    """Who is about to have it; a lock that was just let go of does not tell."""
    wanted: bool = False
    """Whether another server asks for it."""


class OpenMemories:
    """The memories of a store that are open, by their names there.

    Knows no tenants: only the vault may ask for one.

    Args:
        store: where they are.
        model: reads and writes them.
        settings: how many, how long.
        wanted: what servers of the same directory ask each other for.

    Attributes:
        opening: called with ``read`` or ``write`` when one was opened.
    """

    def __init__(
        self, store: AnyStore, model: MPlus, settings: ServerSettings, wanted: Wanted
    ) -> None:
        self.store = store
        self._wanted = wanted
        self.model = model
        self.settings = settings
        self.opening: Callable[[str], object] = str
        self._places: OrderedDict[str, _Place] = OrderedDict()

    @property
    def count(self) -> int:
        """How many are open."""
        return sum(place.handle is not None for place in self._places.values())

    @property
    def nbytes(self) -> int:
        """Bytes of the rows of all that are open."""
        handles = (place.handle for place in self._places.values())
        return sum(handle.memory.nbytes for handle in handles if handle is not None)

    @asynccontextmanager
    async def turn(self, stored: str) -> AsyncIterator[None]:
        """Be the only one who changes a memory; first come, first served.

        Raises:
            MemoryBusyError: others take longer than the server waits.
        """
        place = self._place(stored)
        place.waiting += 1
        try:
            async with asyncio.timeout(self.settings.wait_seconds):
                await place.turn.acquire()
        except TimeoutError as error:
            raise MemoryBusyError(stored) from error
        finally:
            place.waiting -= 1
        try:
            yield
        finally:
            try:
                if place.wanted:
                    await self.drop(stored)
            finally:
                place.turn.release()

    @asynccontextmanager
    async def using(self, stored: str, *, write: bool) -> AsyncIterator[StoredMemory]:
        """The memory, open inside the block; to be changed only in one's turn."""
        place = self._place(stored)
        place.waiting += 1
        try:
            async with place.opening:
                handle = await self._current(place, stored, write=write)
                handle.users += 1
        finally:
            place.waiting -= 1
        try:
            yield handle.memory
        finally:
            handle.users -= 1
            handle.used = time.monotonic()
            if handle.retired and not handle.users:
                await asyncio.to_thread(handle.memory.close)

    def _place(self, stored: str) -> _Place:
        place = self._places.setdefault(stored, _Place())
        self._places.move_to_end(stored)
        return place

    async def _current(self, place: _Place, stored: str, *, write: bool) -> _Handle:
        """The open memory, opened anew where it is not what is needed."""
        handle = place.handle
        if handle is not None and not handle.memory.closed:
            writable = handle.memory.keeper.writable
            if writable and not await asyncio.to_thread(self._taken_over, stored, handle.memory):
                return handle
            if not (write or writable) and not await asyncio.to_thread(
                self._changed, stored, handle.memory
            ):
                return handle
        await self._make_room()
        if handle is not None and handle.memory.keeper.writable:
            await self._let_go(place)  # it could not be opened again beside itself
        memory = await self._opened(stored, write=write)
        await self._let_go(place)
        place.handle = _Handle(memory)
        return place.handle

    def _changed(self, stored: str, memory: StoredMemory) -> bool:
        """Whether another process has changed the memory since it was opened."""
        known, now = memory.keeper.manifest, self.store.manifest(stored)
        return (known.commit, known.journal) != (now.commit, now.journal)

    def _taken_over(self, stored: str, memory: StoredMemory) -> bool:
        """Whether another process writes to a memory that this one had for writing.

        Where it is so this one was not heard of for too long, and what it holds may be old.
        """
        if not memory.keeper.lost:
            return False
        known, now = memory.keeper.manifest.hold, self.store.manifest(stored).hold
        return known is None or now is None or known.epoch != now.epoch

    async def _opened(self, stored: str, *, write: bool) -> StoredMemory:
        opened = await self.once_free(
            stored,
            lambda: self.store.open(stored, self.model, write=write),
            unwanted=lambda memory: memory.close(),
        )
        self.opening("write" if write else "read")
        return opened

    async def once_free(
        self,
        stored: str,
        attempt: Callable[[], _Result],
        unwanted: Callable[[_Result], object] = lambda result: None,
    ) -> _Result:
        """What an attempt in a thread gives, made again while another process has the memory; that
        one is asked to let go of it.

        Args:
            stored: the memory.
            attempt: raises ``MemoryBusyError`` where it has to be made again.
            unwanted: undoes one that succeeded when who waits for it was cancelled.

        Raises:
            MemoryBusyError: it takes longer than the server waits.
        """
        until = time.monotonic() + self.settings.wait_seconds
        asked = 0.0
        try:
            while True:
                try:
                    return await in_thread(attempt, unwanted)
                except MemoryBusyError:
                    now = time.monotonic()
                    if now >= until:
                        raise
                if now - asked >= _ASK_SECONDS:  # another that asked has taken it back
                    await asyncio.to_thread(self._wanted.ask, stored)
                    asked = now
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            if asked:
                await asyncio.to_thread(self._wanted.take_back, stored)

    async def hand_over(self) -> None:
        """Let go of what other servers ask for, once it is not being changed."""
        for stored in await asyncio.to_thread(self._wanted.all):
            place = self._places.get(stored)
            if place is None or place.handle is None or not place.handle.memory.keeper.writable:
                continue
            place.wanted = True
            if not place.turn.locked():
                async with self.turn(stored):
                    pass

    async def _make_room(self) -> None:
        """Close the least recently used memories where as many as may be are open."""
        opened = [place for place in self._places.values() if place.handle is not None]
        for place in opened[: max(0, len(opened) - self.settings.open_memories + 1)]:
            await self._close(place)
        still = sum(place.handle is not None for place in self._places.values())
        if still >= 2 * self.settings.open_memories:
            raise RequestFault.unavailable("Too many memories are in use.", "overloaded", 1.0)

    @staticmethod
    async def _close(place: _Place) -> None:
        handle = place.handle
        if handle is None or handle.users or place.opening.locked() or place.turn.locked():
            return
        place.handle = None
        await asyncio.to_thread(handle.memory.close)

    async def drop(self, stored: str) -> None:
        """Let go of a memory; whoever still reads it goes on with what he has."""
        place = self._place(stored)
        async with place.opening:
            await self._let_go(place)

    @staticmethod
    async def _let_go(place: _Place) -> None:
        """As ``drop``; nobody else opens or closes it meanwhile."""
        handle, place.handle, place.wanted = place.handle, None, False
        if handle is not None:
            handle.retired = True
            if not handle.users:
                await asyncio.to_thread(handle.memory.close)

    async def close_idle(self) -> None:
        """Close what nobody has used for a while, so that other programs may write to it."""
        before = time.monotonic() - self.settings.idle_seconds
        for stored, place in list(self._places.items()):
            if place.handle is not None and place.handle.used < before:
                with suppress(MemplusError):
                    await self._close(place)
            busy = place.waiting or place.opening.locked() or place.turn.locked()
            if place.handle is None and not busy:
                self._places.pop(stored, None)

    async def close(self) -> None:
        """Close every memory; one that cannot be closed as it should keeps no other open."""
        for place in list(self._places.values()):
            handle, place.handle = place.handle, None
            if handle is not None:
                with suppress(MemplusError):
                    await asyncio.to_thread(handle.memory.close)
