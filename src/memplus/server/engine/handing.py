"""What leaves the engine's thread for the event loop that asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Generic, TypeVar

from memplus.server.engine.requests import Finished, Piece

__all__ = ["AnswerStream", "Outlet", "Promise", "hand_on"]

T = TypeVar("T")


class Outlet:
    """The engine's end of an answer.

    Attributes:
        unwanted: whether who asked wants no more of it.
        waited: seconds until it had a place among those that run; 0 before.
        read: tokens of the prompt that were read, or are in the pass that runs.
        generated: tokens of the answer.
    """

    def __init__(self) -> None:
        self.items: asyncio.Queue[Piece | Finished | BaseException] = asyncio.Queue()
        self.unwanted = False
        self.waited = 0.0
        self.read = self.generated = 0
        self.loop = asyncio.get_running_loop()

    def put(self, *items: Piece | Finished | BaseException) -> None:
        """Hand on what is ready; from any thread."""
        hand_on([(self, item) for item in items])


def hand_on(given: Sequence[tuple[Outlet, Piece | Finished | BaseException]]) -> None:
    """Give items to their outlets, in order; from any thread.

    Every loop is woken once, however many outlets it has: a wake costs as much as a small layer.
    """
    for loop in {outlet.loop for outlet, _ in given}:
        own = [(outlet, item) for outlet, item in given if outlet.loop is loop]
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who asked
            loop.call_soon_threadsafe(_take, own)


def _take(given: Sequence[tuple[Outlet, Piece | Finished | BaseException]]) -> None:
    for outlet, item in given:
        outlet.items.put_nowait(item)


class AnswerStream(AsyncIterator[Piece | Finished]):
    """The answer to one request, piece by piece; the last one is ``Finished``.

    Closing it, dropping it, or cancelling the task that waits for it gives up the answer: its
    place is free before the next token.
    """

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._over = False

    @property
    def waited(self) -> float:
        """Seconds until the request had a place among those that run; 0 before."""
        return self._outlet.waited

    @property
    def spent(self) -> tuple[int, int]:
        """Tokens of the prompt that were read, and of the answer that were generated, so far."""
        return self._outlet.read, self._outlet.generated

    async def __anext__(self) -> Piece | Finished:
        if self._over:
            raise StopAsyncIteration
        try:
            item = await self._outlet.items.get()
        except BaseException:
            self.give_up()
            raise
        self._over = isinstance(item, Finished | BaseException)
        if isinstance(item, BaseException):
            raise item
        return item

    def give_up(self) -> None:
        """Want no more."""
        self._over = self._outlet.unwanted = True

    async def aclose(self) -> None:
        """Want no more, as whoever closes generators says it."""
        self.give_up()

    def __del__(self) -> None:
        self._outlet.unwanted = True


class Promise(Generic[T]):
    """The result of one call, to be awaited in the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()
        self._claims = deque([None])

    def claim(self) -> bool:
        """Begin with it, unless who asked has stopped waiting; once, from any thread."""
        return self._take_claim() and not self.future.cancelled()

    def _take_claim(self) -> bool:
        try:
            self._claims.pop()  # one of two threads gets it
        except IndexError:
            return False
        return True

    async def kept(self) -> T:
        """The result.

        Where who waits is cancelled before it was begun, it never is. Once it is begun, its end is
        waited for all the same: what it works on must not be let go of before.
        """
        try:
            return await asyncio.shield(self.future)
        except asyncio.CancelledError:
            if not self._take_claim():
                await self._over()
            raise

    async def _over(self) -> None:
        while not self.future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({self.future})
        if not self.future.cancelled():
            self.future.exception()  # nobody else asks for it

    def keep(self, value: T) -> None:
        """Give the result; from any thread."""
        self._settle(lambda: self.future.set_result(value))

    def fail(self, error: BaseException) -> None:
        """Give an error; from any thread."""
        self._settle(lambda: self.future.set_exception(error))

    def _settle(self, settle: Callable[[], None]) -> None:
        def once() -> None:
            if not self.future.done():
                settle()

        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who asked
            self._loop.call_soon_threadsafe(once)
