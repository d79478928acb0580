"""How many values a request may hold, counted while it comes.

A server waits for whoever reads a request's JSON: nothing else is answered meanwhile. Bytes alone
do not bound how long that takes, since a few megabytes of ``[],[],[]`` are millions of values. So
they are counted before anything is made of them, by their commas and brackets, which is as quick as
copying the bytes.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memplus.server.faults import Fault, RequestFault

__all__ = ["ValueCount", "ValuesMiddleware", "too_many"]

_PIECE = 1 << 16
_IMPORT = "/v1/memories:import"


class ValueCount:
    """Counts the values of a JSON text, which may come in pieces.

    Attributes:
        count: at least as many as there are but one: each value begins what it stands in, or
            stands after a comma. Only empty lists and objects count twice.
    """

    def __init__(self) -> None:
        self.count = 0
        self._inside = False
        """Whether the last piece ended inside a string."""
        self._held = b""
        """A backslash at its end: what it means stands in the next piece."""

    def add(self, piece: bytes) -> None:
        """Count what stands in the next piece."""
        rest = (self._held + piece).replace(b"\\\\", b"")
        self._held = b"\\" if rest.endswith(b"\\") else b""
        parts = rest.replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[self._inside :: 2])
        self._inside ^= len(parts) % 2 == 0
        self.count += sum(map(outside.count, (b",", b"[", b"{")))


class ValuesMiddleware:
    """Refuses JSON with more values than the server reads.

    Args:
        app: gets all other requests.
        most: values of one request; 0: any number.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not self._most or not _is_json(scope):
            await self.app(scope, receive, send)
            return
        counted = ValueCount()

        async def counting() -> Message:
            message = await receive()
            counted.add(message.get("body", b""))
            if counted.count > self._most:
                raise RequestFault(_too_many(self._most))
            return message

        await self.app(scope, counting, send)


def too_many(body: bytes, most: int) -> bool:
    """Whether a JSON text has more values than ``most``; 0: any number may be there."""
    counted = ValueCount()
    for begin in range(0, len(body) if most else 0, _PIECE):
        counted.add(body[begin : begin + _PIECE])
        if counted.count > most:
            return True
    return False


def _is_json(scope: Scope) -> bool:
    if scope["path"] == _IMPORT:  # a file, whatever the client calls it
        return False
    return any("json" in kind.lower() for kind in Headers(scope=scope).getlist("content-type"))


def _too_many(most: int) -> Fault:
    message = f"A request has at most {most} values: texts, numbers, lists, objects."
    return Fault(413, "invalid_request_error", message, "request_too_large", final=True)
