"""What goes into memories, what is asked of them, and what they forget."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, File, Form, Header, Query, Request, UploadFile

from memplus.server.actions import forgetting, questions, writes
from memplus.server.asking import Served, Who
from memplus.server.repeats import retried
from memplus.server.uploads import document_of
from memplus.server.wire.memories import ForgetRequest, Forgotten
from memplus.server.wire.writes import (
    Answered,
    AskRequest,
    Found,
    SearchRequest,
    WriteRequest,
    Written,
    WrittenPage,
)

__all__ = ["router"]

router = APIRouter(prefix="/v1/memories/{memory}", tags=["memories"])
Key = Annotated[str, Header(alias="Idempotency-Key")]


@router.post("/writes", status_code=201)
async def write(
    request: Request,
    memory: str,
    asked: WriteRequest,
    services: Served,
    who: Who,
    key: Key = "",
) -> Written:
    """Write a text, or the turns of a conversation; it is durable when this answers.

    The memory is made where there is none. With an ``Idempotency-Key`` a repeated call writes once.
    """
    said = writes.said_of(asked, key=key, retried=retried(request.headers))
    return await writes.write(services, who, memory, said)


@router.post("/files", status_code=201)
async def write_file(
    request: Request,
    memory: str,
    services: Served,
    who: Who,
    file: Annotated[UploadFile, File()],
    source: Annotated[str, Form()] = "",
    *,
    flush: Annotated[bool, Form()] = False,
    key: Key = "",
) -> Written:
    """Write a text file, gzipped or not; its name is the source unless another is given."""
    document = await asyncio.to_thread(document_of, file, services.settings.body_bytes)
    said = writes.Said(
        document.text,
        source or document.source,
        flush=flush,
        key=key,
        retried=retried(request.headers),
    )
    return await writes.write(services, who, memory, said)


@router.get("/writes")
async def written(
    memory: str,
    services: Served,
    who: Who,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> WrittenPage:
    """What was written, chunk by chunk, oldest first; the last page has the tail, too."""
    return await writes.written(services, who, memory, after=after, limit=limit)


@router.post("/ask")
async def ask(memory: str, asked: AskRequest, services: Served, who: Who) -> Answered:
    """Ask the memory; nothing is written."""
    return await questions.ask(services, who, memory, asked)


@router.post("/search")
async def search(memory: str, asked: SearchRequest, services: Served, who: Who) -> Found:
    """The writes that a question finds, with their texts; nothing is written."""
    return await questions.search(services, who, memory, asked)


@router.post("/forget")
async def forget(memory: str, asked: ForgetRequest, services: Served, who: Who) -> Forgotten:
    """Take out writes by source, id or text; with ``dry_run`` only say what would go."""
    return await forgetting.forget(services, who, memory, asked)
