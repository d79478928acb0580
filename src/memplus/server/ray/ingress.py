"""What stands in front: takes requests, finds whose memory each means, and hands it on whole."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from memplus.errors import MemplusError
from memplus.server.bounds import request_id
from memplus.server.faults import Fault, RequestFault
from memplus.server.metrics import CONTENT_TYPE
from memplus.server.ray.carried import CarriedRequest
from memplus.server.recent import RecentRequest

__all__ = ["Forwarding", "Unreachable"]

_LOG = logging.getLogger("memplus.server.ray")
_HEALTH = "/health"
_METRICS = "/metrics"
_ID = b"x-request-id"
_NO_ROUTE = "-"
Handed = Callable[[CarriedRequest, str], AsyncGenerator[Message | None, None]]
"""Gives a request to the replica of a session and yields what it says."""


class Unreachable(Exception):
    """No replica takes a request, or the one that had it is gone.

    Attributes:
        full: all that may wait waits already.
    """

    def __init__(self, *, full: bool) -> None:
        super().__init__()
        self.full = full


class Forwarding:
    """An ASGI application that hands every request to a replica.

    Args:
        hand: gives it to one.
        session: which memory a request means; the same for all that mean the same.
        figures: of all replicas, for ``/metrics``.
        missed: is told of each request that no replica answered to its end; may block.
        body_bytes: most bytes of a request.
        wait_seconds: longest wait for a replica to begin with it.
    """

    def __init__(
        self,
        hand: Handed,
        session: Callable[[CarriedRequest], str],
        figures: Callable[[], Awaitable[bytes]],
        missed: Callable[[CarriedRequest, RecentRequest], None],
        *,
        body_bytes: int,
        wait_seconds: float,
    ) -> None:
        self._hand = hand
        self._session = session
        self._figures = figures
        self._missed = missed
        self._body_bytes = body_bytes
        self._wait_seconds = wait_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        came, given = time.time(), dict(scope["headers"]).get(_ID, b"")
        id = request_id(given)
        sent = _Sent(send, id, said=id.encode() == given)
        if scope["path"] == _HEALTH:
            await JSONResponse({"status": "ok"})(scope, receive, sent)
            return
        if scope["path"] == _METRICS:
            figures = await self._figures()
            await Response(figures, media_type=CONTENT_TYPE)(scope, receive, sent)
            return
        body = await self._body(receive)
        request = CarriedRequest.of(_with_id(scope, id), body or b"")
        if body is None:
            fault = _too_large(self._body_bytes)
            await _refuse(fault, scope, receive, sent)
            await self._miss(request, id, fault, came)
            return
        passing = asyncio.create_task(self._pass_on(request, sent))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not passing.done():
                passing.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)
        if passing.cancelled() or passing.exception() is None or sent.ended:
            return
        fault = _fault_of(passing.exception(), sent)
        _LOG.warning("%s was not answered: %s", id, fault.code)
        try:  # the client first: it should not wait for a list
            await _say(fault, sent, scope, receive)
        finally:
            await self._miss(request, id, fault, came)

    async def _body(self, receive: Receive) -> bytes | None:
        """All of a request's body; None where it is too much."""
        pieces, size, more = [], 0, True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > self._body_bytes:
                return None
            more = message.get("more_body", False)
        return b"".join(pieces)

    async def _pass_on(self, request: CarriedRequest, sent: _Sent) -> None:
        session = await asyncio.to_thread(self._session, request)
        async with aclosing(self._hand(request, session)) as messages:
            async with asyncio.timeout(self._wait_seconds):
                await anext(messages)
            sent.begun = True
            async for message in messages:
                if message is not None:
                    await sent(message)

    async def _miss(self, request: CarriedRequest, id: str, fault: Fault, came: float) -> None:
        """Tell of a request that no replica answered to its end."""
        kept = RecentRequest(
            id=id,
            time=came,
            method=str(request.scope["method"]),
            route=_NO_ROUTE,
            status=fault.status,
            code=fault.code,
            seconds=time.time() - came,
            key="",
        )
        try:
            await asyncio.to_thread(self._missed, request, kept)
        except MemplusError as error:  # nobody's answer depends on it
            _LOG.warning("%s is in no list: %s", id, error)


def _fault_of(error: BaseException | None, sent: _Sent) -> Fault:
    """What became of a request that no replica answered to its end."""
    if isinstance(error, Unreachable) and error.full:
        return RequestFault.unavailable("Too many requests at once.", "overloaded", 1.0).fault
    if not sent.begun:
        message = "No server is ready to answer this; nothing was written."
        return RequestFault.unavailable(message, "loading", 2.0).fault
    message = (
        "The server that worked on this has ended. Whether it wrote something is unknown; "
        "with the same Idempotency-Key it is safe to ask again."
    )
    return RequestFault.unavailable(message, "interrupted", 1.0).fault


async def _say(fault: Fault, sent: _Sent, scope: Scope, receive: Receive) -> None:
    """Say so, however much of an answer the client has."""
    if not sent.started:
        await _refuse(fault, scope, receive, sent)
        return
    if not sent.events:
        raise ConnectionError("an answer has ended before its end")
    line = f"data: {json.dumps(fault.body)}\n\n".encode()
    await sent({"type": "http.response.body", "body": line, "more_body": False})


def _with_id(scope: Scope, id: str) -> Scope:
    """A request under the id by which the replica and the logs will know it."""
    others = [pair for pair in scope["headers"] if pair[0] != _ID]
    return {**scope, "headers": [*others, (_ID, id.encode())]}


class _Sent:
    """Sends an answer with the request's id, and knows how far it has come.

    Args:
        send: sends.
        id: of the request.
        said: Ray's proxy, which gives each request an id that has none, adds it to the answer.
    """

    def __init__(self, send: Send, id: str, *, said: bool) -> None:
        self._send = send
        self._ids = [] if said else [(_ID, id.encode())]
        self.begun = False
        """A replica has begun with the request."""
        self.started = False
        """The client has the status."""
        self.events = False
        """It is a stream of events."""
        self.ended = False
        """The client has all of it, whatever happened to the replica then."""

    async def __call__(self, message: Message) -> None:
        """A piece of the answer."""
        if message["type"] == "http.response.start":
            self.started = True
            others = [pair for pair in message["headers"] if pair[0].lower() != _ID]
            message = {**message, "headers": others + self._ids}
            kinds = [value for name, value in message["headers"] if name == b"content-type"]
            self.events = any(kind.startswith(b"text/event-stream") for kind in kinds)
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.ended = True


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    with suppress(OSError):
        await JSONResponse(fault.body, fault.status, headers=fault.headers)(scope, receive, send)


def _too_large(most: int) -> Fault:
    message = f"A request has at most {most} bytes; send a long text in several writes."
    return Fault(413, "invalid_request_error", message, "request_too_large", final=True)
