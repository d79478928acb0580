"""Connections that send the head of a request too slowly, or none at all, are closed.

uvicorn bounds how much it takes for a head and how long a connection lies idle between requests,
and not how long a head may take. A client that sends a byte now and then would hold a connection
for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["bounded_heads"]


class _BoundedHeads(H11Protocol):
    """One connection; from its beginning, and from the first byte of each request, time runs."""

    seconds = 0.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Some bytes, which may end a head."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._late is None:
            self._late = self.loop.call_later(self.seconds, self._give_up)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


def bounded_heads(seconds: float) -> Any:
    """How connections are served, as uvicorn's ``http`` takes it.

    Args:
        seconds: that the head of a request may take; 0: any time.
    """
    if not seconds:
        return "h11"
    return type("BoundedHeads", (_BoundedHeads,), {"seconds": seconds})
