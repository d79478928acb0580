"""Connections that send the head of a request too slowly, or do not take their answer, are closed.

uvicorn bounds how much it takes for a head and how long a connection lies idle between requests,
and not how long a head may take, nor how long an answer waits for its client. One that sends a byte
now and then, or stops reading, would hold a connection, and a place among the requests, for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from memplus.server.settings import ServerSettings

__all__ = ["bounded_pace"]


class _Bounded(H11Protocol):
    """One connection; from its beginning, and from the first byte of each request, time runs."""

    head_seconds = 0.0
    send_seconds = 0.0
    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

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
        self._taken()
        super().connection_lost(exc)

    # Heads --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._late is None and self.head_seconds:
            self._late = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()

    # Answers ------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._wait_for(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self._taken()
        super().resume_writing()

    def _wait_for(self, waiting: int) -> None:
        """Look later how much still waits of so many bytes."""
        if self.send_seconds:
            self._stuck = self.loop.call_later(self.send_seconds, self._look, waiting)

    def _taken(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _look(self, waiting: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left < waiting:
            self._wait_for(left)
        else:
            self.transport.abort()  # closing would wait for the client once more


def bounded_pace(settings: ServerSettings) -> Any:
    """How connections are served, as uvicorn's ``http`` takes it."""
    bounds = {"head_seconds": settings.head_seconds, "send_seconds": settings.send_seconds}
    return type("Bounded", (_Bounded,), bounds)
