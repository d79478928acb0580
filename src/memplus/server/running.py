"""Listening, and stopping without losing anything."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from memplus.errors import UsageError
from memplus.server.app import create_app
from memplus.server.pace import bounded_pace
from memplus.server.services import Services

__all__ = ["configured", "run"]

_POLL_SECONDS = 0.05
_LAST_SECONDS = 2.0
"""For the last words to those whose answers did not end in time."""
_IDLE_SECONDS = 75
"""That a connection without a request stays open. Longer than clients keep theirs, 5 s most of
them: who sends on a connection that is closed at that moment gets no answer."""


class _Draining(uvicorn.Server):
    """Goes on listening after SIGTERM until what runs has ended, so that probes are answered."""

    def __init__(
        self, config: uvicorn.Config, services: Services, listening: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._services = services
        self._listening = listening
        self._drain: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        for listening in self.servers:
            host, port = listening.sockets[0].getsockname()[:2]
            self._listening(f"http://{host}:{port}")
        self._loading = asyncio.create_task(self._end_if_failed())

    async def _end_if_failed(self) -> None:
        """A server that cannot load its model will never serve: whoever started it should know."""
        await self._services.loaded()
        if self._services.failure is not None:
            self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains. The second ends the process: what is acknowledged is safe."""
        if self._services.state == "draining":
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
            return
        self._services.drain()
        asyncio.get_running_loop().call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._drain = asyncio.create_task(self._until_done())

    async def _until_done(self) -> None:
        await self._idle(self._services.left)
        if self._services.running_requests:
            await self._services.give_up()
            await self._idle(_LAST_SECONDS)
        self.config.timeout_graceful_shutdown = max(1, round(self._services.left))
        self.should_exit = True

    async def _idle(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._services.running_requests and time.monotonic() < until:
            await asyncio.sleep(_POLL_SECONDS)


def configured(services: Services) -> uvicorn.Config:
    """How the application is served."""
    settings = services.settings
    return uvicorn.Config(
        create_app(services),
        host=settings.host,
        port=settings.port,
        http=bounded_pace(settings),  # h11 bounds the size of heads
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),  # less once it drains
        lifespan="on",
    )


def run(services: Services, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; what was acknowledged is written when this returns.

    Where the model is still being loaded by then, the process ends here, with exit code 0: nothing
    stops the thread that loads it, and Python would wait for it.

    Args:
        services: the server's parts.
        listening: is told the address, once clients may come.

    Raises:
        UsageError: it cannot listen there.
        Exception: the model cannot be loaded, or what the server keeps not be read.
    """
    settings = services.settings
    server = _Draining(configured(services), services, listening)
    try:
        server.run()
    except SystemExit as error:  # the library ends the process where the address is taken
        where = f"{settings.host}:{settings.port}"
        raise UsageError(f"The server cannot listen on {where}: is it in use?") from error
    except KeyboardInterrupt:
        pass  # it has drained by then
    if services.failure is not None:
        raise services.failure
    if services.loading:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
