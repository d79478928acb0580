"""``POST /tokenize``: how many tokens a text or a chat is, for clients that have a budget."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from memplus.server.asking import Served, Who
from memplus.server.faults import RequestFault
from memplus.server.prompts import check_messages, make_prompt
from memplus.server.wire.chat import ChatMessage, read_messages
from memplus.server.wire.fields import Wire, served_model
from memplus.server.wire.sound import FIRST

__all__ = ["router"]

router = APIRouter(tags=["openai"])


class Counted(Wire):
    """A text, or the messages of a chat."""

    model: str = ""
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], FIRST] | None = Field(default=None, min_length=1)


@router.post("/tokenize")
async def tokenize(body: Counted, services: Served, who: Who) -> dict[str, Any]:
    """The token ids, and how many there are."""
    if not who.may("read"):
        raise RequestFault.forbidden("This key has no scope 'read'.")
    if body.model:
        served_model(body.model, services.model_name)
    if (body.prompt is None) == (body.messages is None):
        raise RequestFault.invalid("Give prompt or messages.", "prompt")
    model = services.model

    def ids() -> list[int]:
        if body.messages is None:
            return model.encode(body.prompt or "") if body.prompt else []
        messages = read_messages(body.messages)
        check_messages(messages)
        return list(make_prompt(model, messages, held=(), kept=False, window=0).ids)

    found = await asyncio.to_thread(ids)
    return {"count": len(found), "max_model_len": model.positions, "tokens": found}
