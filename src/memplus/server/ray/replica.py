"""One process with a model: the whole server, without a port of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import uvicorn
from starlette.types import Message
from uvicorn.lifespan.on import LifespanOn

from memplus.mplus.model import MPlus
from memplus.server.app import create_app
from memplus.server.ray.carried import CarriedRequest, Carrier
from memplus.server.ray.deployment import Deployed
from memplus.server.services import Services
from memplus.server.tally import Tally
from memplus.store import Lease, MemoryStore

__all__ = ["Replica"]


class Replica:
    """Runs the server's application for requests that others took.

    Args:
        deployed: what is served.
        owner: the name under which it holds memories; no other living process has it.
        tally: counts for all replicas; None: this one counts for itself.
    """

    def __init__(self, deployed: Deployed, owner: str, tally: Tally | None = None) -> None:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("mcp").setLevel(logging.WARNING)
        lease = Lease(owner, seconds=deployed.lease_seconds, margin=deployed.lease_margin)
        store = MemoryStore(deployed.store, ram=deployed.ram, lease=lease)
        self.owner = owner
        self.services = Services(
            store,
            lambda: _loaded(deployed),
            deployed.settings,
            model_name=deployed.model,
            tally=tally,
        )
        app = create_app(self.services)
        self._carrier = Carrier(app)
        self._lifespan = LifespanOn(uvicorn.Config(app, lifespan="on", log_config=None))

    async def start(self) -> None:
        """Load the model; requests may come when this returns.

        Raises:
            MemplusError: it cannot be loaded.
        """
        await self._lifespan.startup()
        await self.services.loaded()
        if self.services.failure is not None:
            raise self.services.failure

    async def answer(self, request: CarriedRequest) -> AsyncGenerator[Message | None, None]:
        """The messages of an answer; before them None: this replica has begun with the request."""
        yield None
        async with aclosing(self._carrier.answer(request)) as messages:
            async for message in messages:
                yield message

    async def check_health(self) -> None:
        """Raise where this process cannot serve any more, so that another takes its place.

        Raises:
            RuntimeError: it is so.
        """
        if self.services.failure is not None:
            raise RuntimeError("the model could not be loaded")
        if not await asyncio.to_thread(self.services.writable):
            raise RuntimeError("the store's directory takes no files")

    async def stop(self) -> None:
        """Bring what was acknowledged to its memories, and let go of them."""
        self.services.drain()
        await self._carrier.close(self.services.left)
        await self._lifespan.shutdown()


def _loaded(deployed: Deployed) -> MPlus:
    return MPlus.from_pretrained(
        deployed.model, dtype=deployed.dtype, device=deployed.device
    ).eval()
