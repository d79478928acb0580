"""Listening, and stopping without losing anything."""

from __future__ import annotations

import asyncio
from types import FrameType

import uvicorn

from memplus.server.app import create_app
from memplus.server.services import Services

__all__ = ["run"]

_POLL_SECONDS = 0.05


class _Draining(uvicorn.Server):
    """Goes on listening after SIGTERM until what runs has ended, so that probes are answered."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        if self._services.state == "draining":
            self.force_exit = self.should_exit = True
            return
        self._services.state = "draining"
        self._captured_signals.append(sig)
        asyncio.get_running_loop().call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._drain = asyncio.create_task(self._until_done())

    async def _until_done(self) -> None:
        seconds = self._services.settings.shutdown_seconds
        until = asyncio.get_running_loop().time() + seconds
        while self._services.running_requests and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_POLL_SECONDS)
        self.should_exit = True


def run(services: Services) -> None:
    """Serve until SIGTERM or Ctrl-C; what was acknowledged is written when this returns."""
    settings = services.settings
    config = uvicorn.Config(
        create_app(services),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
        lifespan="on",
    )
    server = _Draining(config, services)
    server.run()
