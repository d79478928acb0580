"""Memories: made, listed, looked at, copied, exported, deleted."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from memplus.errors.base import storage_errors
from memplus.server.actions import memories as actions
from memplus.server.asking import Served, Who
from memplus.server.bounds import announced
from memplus.server.receiving import received, require_space
from memplus.server.wire.memories import (
    Deleted,
    Described,
    ForkRequest,
    Name,
    NewMemory,
    Page,
    RollbackRequest,
    State,
    Summary,
)

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["memories"])
Limit = Annotated[int, Query(ge=1, le=100)]


@router.post("/memories", status_code=201)
async def create(asked: NewMemory, services: Served, who: Who) -> Summary:
    """Make an empty memory; writing to one that is not there makes it as well."""
    return await actions.create(services, who, asked)


@router.get("/memories")
async def listing(services: Served, who: Who, after: str = "", limit: Limit = 20) -> Page[Summary]:
    """The memories of the key, by name."""
    return await actions.listing(services, who, after=after, limit=limit)


@router.post("/memories:import", status_code=201)
async def import_one(
    request: Request, services: Served, who: Who, id: Annotated[Name, Query()]
) -> Summary:
    """Add a memory from a file of ``export``, sent as the body; every byte of it is checked."""
    services.require_ready()
    await services.vault.check_import(who, id)
    folder = services.database.path.parent
    await asyncio.to_thread(
        require_space, folder, announced(request.headers.get("content-length", ""))
    )
    async with received(request.stream(), folder) as path:
        await services.vault.import_memory(who, id, path)
    return actions.summary(await services.vault.look(who, id))


@router.get("/memories/{memory}")
async def describe(memory: str, services: Served, who: Who) -> Described:
    """One memory: sizes, ages, sources, what waits to be written."""
    return await actions.describe(services, who, memory)


@router.delete("/memories/{memory}")
async def delete(memory: str, services: Served, who: Who) -> Deleted:
    """Remove a memory and what is kept of it; forks keep what they share with it."""
    await services.vault.delete(who, memory)
    return Deleted(id=memory, object="memory")


@router.post("/memories/{memory}/fork", status_code=201)
async def fork(memory: str, asked: ForkRequest, services: Served, who: Who) -> Summary:
    """Make a second memory that begins as this one."""
    return await actions.fork(services, who, memory, asked.id)


@router.get("/memories/{memory}/history")
async def history(memory: str, services: Served, who: Who) -> Page[State]:
    """The states that ``rollback`` can go back to, oldest first; the last is the present."""
    states = await actions.history(services, who, memory)
    first, last = (states[0].commit, states[-1].commit) if states else (None, None)
    return Page(data=states, first_id=first, last_id=last)


@router.post("/memories/{memory}/rollback")
async def rollback(memory: str, asked: RollbackRequest, services: Served, who: Who) -> Summary:
    """Make the memory what it was after a commit or a write; what came later is gone."""
    return await actions.roll_back(services, who, memory, asked)


@router.get("/memories/{memory}/export", response_class=FileResponse)
async def export(memory: str, services: Served, who: Who) -> FileResponse:
    """The memory as it is now, with its texts, in one file."""
    folder = await asyncio.to_thread(_folder)
    try:
        path = folder / "memory"
        await services.vault.export(who, memory, path)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise
    return _Export(path, media_type="application/octet-stream", filename=f"{memory}.memory")


class _Export(FileResponse):
    """Sends a file whole, and removes its folder whatever becomes of the answer.

    Each request makes the file anew, so a part of one would not fit a part of another.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers["accept-ranges"] = "none"
        headers = [one for one in scope["headers"] if one[0] != b"range"]
        try:
            await super().__call__({**scope, "headers": headers}, receive, send)
        finally:
            await asyncio.shield(
                asyncio.to_thread(shutil.rmtree, Path(self.path).parent, ignore_errors=True)
            )


def _folder() -> Path:
    """A new folder for a file that is sent."""
    with storage_errors(tempfile.gettempdir()):
        return Path(tempfile.mkdtemp(prefix="memplus-"))
