"""Before and after every request: its id, its size and pace, how many there are at once."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memplus.server.faults import Fault, RequestFault, fault_of
from memplus.server.measured import METER, Meter
from memplus.server.origins import with_origins
from memplus.server.places import NOBODY, PROBES, Places
from memplus.server.principals import Principal
from memplus.server.recent import RecentRequest

if TYPE_CHECKING:
    from memplus.server.services import Services

__all__ = ["CODE", "LIMITS", "PRINCIPAL", "ROUTE", "BoundsMiddleware", "announced", "request_id"]

_LOG = logging.getLogger("memplus.server.requests")
_FAILURES = logging.getLogger("memplus.server")
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,100}")
PRINCIPAL = "memplus.principal"
"""Where a request's scope holds whose it is."""
LIMITS = "memplus.limits"
"""Where a request's scope holds what is left of its key's minute, as headers."""
ROUTE = "memplus.route"
"""Where a request's scope holds its route, where it is none of the framework's."""
CODE = "memplus.code"
"""Where a request's scope holds the code of the error that it ended with."""
_REQUEST = "memplus.request"
"""Where a request's scope holds what bounds it."""
_IMPORT = "/v1/memories:import"
ALWAYS = {"/health", "/ready", "/version", "/metrics"}
"""Answered whatever else goes on."""


_TOO_SLOW = Fault(
    408, "invalid_request_error", "The rest of the request did not come.", "request_timeout"
)


class BoundsMiddleware:
    """Bounds every request, and gives it an id.

    Args:
        app: what is bounded.
        services: the settings and the state.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services
        self._places = Places(services)
        self._with_origins = with_origins(self._bounded, services.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _Bounded(scope, receive, send, self.services)
        scope["request_id"] = request.id
        scope[_REQUEST] = request
        METER.set(request.meter)
        try:
            await self._with_origins(scope, request.receive, request.send)
        finally:
            request.end()

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request that has an id."""
        request: _Bounded = scope[_REQUEST]
        try:
            holder = PROBES
            if scope["path"] not in ALWAYS:
                refusal = self._refusal(request)
                if refusal is None:
                    holder = await self._places.holder(scope)
                    refusal = self._places.refusal(holder)
                if refusal is not None:
                    await _tell(refusal, scope, receive, send)
                    return
            request.heard = holder != NOBODY
            with self._places.taken(holder):
                await self.app(scope, receive, send)
        except Exception as error:
            if request.status:  # its answer breaks off, which tells the client
                raise
            _FAILURES.error("request %s failed", request.id, exc_info=error)
            await _tell(fault_of(error), scope, receive, send)

    def _refusal(self, request: _Bounded) -> Fault | None:
        if request.announced > request.most:
            return _too_large(request.most)
        if self.services.state == "draining":
            return RequestFault.unavailable("The server is about to stop.", "draining").fault
        return None


class _Bounded:
    """One request on its way in and out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, services: Services) -> None:
        self.scope = scope
        self.services = services
        settings = services.settings
        self.most = settings.import_bytes if scope["path"] == _IMPORT else settings.body_bytes
        self.meter = Meter()
        self.came = time.time()
        self.status = 0
        self._receive = receive
        self._send = send
        self._begun = time.perf_counter()
        headers = dict(scope["headers"])
        self.id = request_id(headers.get(b"x-request-id", b""))
        self.announced = announced(headers.get(b"content-length", b"").decode("latin-1"))
        self.heard = True
        """Whether its body is read: nobody waits for that of a request without a known key."""
        self._got = 0
        self._waited = 0.0
        """Seconds that the server waited for the body, and had nothing else to do."""
        self._whole = False

    async def receive(self) -> Message:
        """The next piece of the body, unless it is too much by now or does not come."""
        if self._whole:  # from here on only that the client goes away is waited for
            return await self._receive()
        if not self.heard:
            self._whole = True
            return {"type": "http.request", "body": b"", "more_body": False}
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(self._patience()):
                message = await self._receive()
        except TimeoutError as error:
            self._whole = True
            raise RequestFault(_TOO_SLOW) from error
        self._waited += time.perf_counter() - begun
        self._whole = not message.get("more_body", False)
        self._got += len(message.get("body", b""))
        if self._got > self.most:
            raise RequestFault(_too_large(self.most))
        return message

    def _patience(self) -> float | None:
        """Seconds until the next piece of the body has to be there; None: it may take any time."""
        settings = self.services.settings
        silence, rate = settings.body_seconds, settings.least_rate
        if not silence or not rate:
            return silence or None
        return min(silence, silence + self._got / rate - self._waited)

    async def send(self, message: Message) -> None:
        """A piece of the answer, the first with the request's id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            more = {"x-request-id": self.id} | self.scope.get(LIMITS, {})
            pairs = [(name.encode(), value.encode()) for name, value in more.items()]
            message["headers"] = [*message["headers"], *pairs]
        await self._send(message)

    def end(self) -> None:
        """Count it, and one line of log; no text, no name, no key."""
        self.meter.end()
        route = str(self.scope.get(ROUTE) or getattr(self.scope.get("route"), "path", "-"))
        seconds = time.perf_counter() - self._begun
        method, code = self.scope["method"], self.scope.get(CODE, "")
        _LOG.info("%s %s %s %d %.3f", self.id, method, route, self.status, seconds)
        self.services.metrics.answered(route, self.status, seconds, code)
        if isinstance(who := self.scope.get(PRINCIPAL), Principal):
            kept = RecentRequest(
                self.id, self.came, method, route, self.status, code, seconds, who.key
            )
            self.services.tally.answered(who, self.meter.tokens, kept)


async def _tell(fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    scope[CODE] = fault.code
    await JSONResponse(fault.body, fault.status, headers=fault.headers)(scope, receive, send)


def announced(length: str) -> int:
    """Bytes of a body, as far as its client says; 0: it does not."""
    return int(length) if length.isascii() and length.isdigit() else 0


def request_id(given: bytes) -> str:
    """The id that a client gave its request, where it is one; otherwise a new one."""
    text = given.decode("latin-1")
    return text if _GIVEN.fullmatch(text) else f"req_{secrets.token_hex(12)}"


def _too_large(most: int) -> Fault:
    message = f"A request has at most {most} bytes; send a long text in several writes."
    return Fault(413, "invalid_request_error", message, "request_too_large", final=True)
