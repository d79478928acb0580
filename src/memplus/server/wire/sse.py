"""Streams of events, and clients that go away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from memplus.server.faults import Fault, RequestFault, fault_of

__all__ = ["DONE", "begun", "event", "last_of", "streamed", "unless_gone"]

T = TypeVar("T")
DONE = ServerSentEvent(data="[DONE]", sep="\n")
_LOG = logging.getLogger("memplus.server")


def event(data: dict[str, Any], name: str | None = None) -> ServerSentEvent:
    """One event with JSON in it."""
    return ServerSentEvent(data=json.dumps(data, ensure_ascii=False), event=name, sep="\n")


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is given up when the client goes away.

    Raises:
        RequestFault: it went away.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        message = "The client went away before the end; nothing was written."
        raise RequestFault(Fault(499, "invalid_request_error", message, "client_gone"))
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def begun(request: Request, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same items, once the first one is there: what fails before it fails before the answer."""
    first = await unless_gone(request, _first(items))
    return _chained(first, items)


async def last_of(items: AsyncGenerator[Any, None], kind: type[T]) -> T:
    """The last item, which is of that kind, once all are there."""
    found: T | None = None
    async with aclosing(items):
        async for item in items:
            found = item if isinstance(item, kind) else None
    if found is None:
        raise TypeError(f"the last item is no {kind.__name__}")
    return found


async def _first(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)


async def _chained(first: T, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    async with aclosing(items):
        yield first
        async for item in items:
            yield item


def streamed(
    events: AsyncIterator[ServerSentEvent],
    ping_seconds: float,
    failed: Callable[[Fault], ServerSentEvent],
) -> EventSourceResponse:
    """An answer that is a stream of events.

    Args:
        events: closed when the client goes away.
        ping_seconds: longest silence.
        failed: what is sent where the events end with an error; the stream ends with it.
    """
    return EventSourceResponse(
        _guarded(events, failed),
        headers={"Cache-Control": "no-cache"},
        ping=ping_seconds,
        sep="\n",
    )


async def _guarded(
    events: AsyncIterator[ServerSentEvent], failed: Callable[[Fault], ServerSentEvent]
) -> AsyncIterator[ServerSentEvent]:
    try:
        async with aclosing(events):  # type: ignore[type-var]
            async for one in events:
                yield one
    except Exception as error:
        fault = fault_of(error)
        if fault.status >= 500 and not isinstance(error, RequestFault):
            _LOG.error("a stream failed", exc_info=error)
        yield failed(fault)
