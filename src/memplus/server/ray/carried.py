"""A request on its way to another process, and the application's answer on its way back.

Both are ASGI's own messages, so that not one route is written twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CarriedRequest", "Carrier"]

_AHEAD = 16
"""Messages of an answer that wait for their reader."""
_SCOPE = {
    "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
    "client", "server",
}  # fmt: skip


@dataclass(frozen=True)
class CarriedRequest:
    """A whole HTTP request."""

    scope: dict[str, Any]
    """What of ASGI's scope is plain data."""
    body: bytes

    @classmethod
    def of(cls, scope: Scope, body: bytes) -> CarriedRequest:
        """A request that has come."""
        return cls({name: scope[name] for name in _SCOPE if name in scope}, body)

    @property
    def path(self) -> str:
        """Which route it is for."""
        return str(self.scope["path"])

    @property
    def query(self) -> str:
        """What stands behind the path's question mark."""
        given = self.scope.get("query_string", b"")
        return given.decode("latin-1") if isinstance(given, bytes) else ""

    @property
    def headers(self) -> Headers:
        """By their names, whatever the case."""
        return Headers(scope=self.scope)

    def unpacked(self) -> Scope:
        """ASGI's scope, for an application."""
        return {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, **self.scope}


class Carrier:
    """Answers carried requests with an application.

    Args:
        app: it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running: set[asyncio.Task[None]] = set()

    async def answer(self, request: CarriedRequest) -> AsyncGenerator[Message, None]:
        """What the application sends; whoever closes this early is a client that hung up: the
        application is told so, and ends as it likes."""
        messages: asyncio.Queue[Message] = asyncio.Queue(_AHEAD)
        gone = asyncio.Event()
        bodies = [request.body]

        async def receive() -> Message:
            if bodies:
                return {"type": "http.request", "body": bodies.pop(), "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if not gone.is_set():
                await messages.put(message)

        running = asyncio.create_task(self._run(request.unpacked(), receive, send))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            async for message in _until_done(messages, running):
                yield message
        finally:
            gone.set()
            while not messages.empty():
                messages.get_nowait()
            if running.done() and not running.cancelled():
                running.exception()  # it has been raised, or nobody wants it

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def close(self, timeout: float) -> None:
        """Wait for requests whose clients have gone, too."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def _until_done(
    messages: asyncio.Queue[Message], running: asyncio.Task[None]
) -> AsyncGenerator[Message, None]:
    """All messages; raises what the application raised."""
    while not running.done() or not messages.empty():
        getting = asyncio.create_task(messages.get())
        try:
            await asyncio.wait({getting, running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not getting.done():
                getting.cancel()
        if getting.done():
            yield getting.result()
    running.result()
