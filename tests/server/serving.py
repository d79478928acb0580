"""A server for tests: the real application on a real port, in a thread of this process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from memplus.mplus.model import MPlus
from memplus.server.app import create_app
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore

PATIENCE = 60.0


class Served:
    """A running server.

    Attributes:
        url: where it listens.
        services: its parts.
    """

    def __init__(self, server: uvicorn.Server, services: Services) -> None:
        self.services = services
        self._server = server
        port = server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def client(self, key: str = "", **options: Any) -> httpx.Client:
        """A plain client, with a key or without."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE, **options)

    def key(self, tenant: str = "", **options: Any) -> str:
        """A new key."""
        count = len(self.services.keys.all())
        return self.services.keys.add(f"k{count}", tenant=tenant, **options)[1]


@contextlib.contextmanager
def serving(
    folder: Path,
    model: MPlus | Callable[[], MPlus],
    *,
    keys: bool = False,
    **settings: Any,
) -> Iterator[Served]:
    """Serve a store; ``keys``: make one first, so that every request needs one."""
    bounds = replace(ServerSettings(port=0), **settings)
    load = model if not isinstance(model, MPlus) else lambda: model
    services = Services(MemoryStore(folder), load, bounds, model_name="nano")
    if keys:
        services.keys.add("first")
    config = uvicorn.Config(
        create_app(services), host="127.0.0.1", port=0, log_config=None, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        _until(lambda: server.started and services.state != "loading")
        yield Served(server, services)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError("the server did not start")
        time.sleep(0.01)
