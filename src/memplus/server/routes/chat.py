"""``POST /v1/chat/completions``."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sse_starlette import ServerSentEvent

from memplus.server.asking import Served, Who
from memplus.server.engine.requests import Piece
from memplus.server.exchange import Ask, Ended, asked
from memplus.server.faults import Fault
from memplus.server.kept_answers import Repeat
from memplus.server.ledger import Kept
from memplus.server.naming import ignores_tools
from memplus.server.principals import Principal
from memplus.server.repeats import answered
from memplus.server.services import Services
from memplus.server.wire.chat import ChatRequest, chat_body, chunk, read_messages
from memplus.server.wire.sse import DONE, begun, event, last_of, streamed, unless_gone

__all__ = ["router"]

router = APIRouter(tags=["openai"])


@router.post("/v1/chat/completions")
async def chat(request: Request, body: ChatRequest, services: Served, who: Who) -> Response:
    """Answer a chat; its new turns are written into its memory."""
    services.require_ready()
    body.check(ignores_tools=ignores_tools(request.headers))
    talk = await asyncio.to_thread(_Talk, request, body, services, who)
    if not body.stream:
        kept = await unless_gone(request, last_of(talk.items(), Kept))
        return JSONResponse(kept.body)
    items = await begun(request, talk.items())
    ping = services.settings.ping_seconds
    return streamed(talk.chunks(items), ping, failed=_failed)


def _failed(fault: Fault) -> ServerSentEvent:
    return event(fault.body)


class _Talk:
    """One request and its answer; made in a thread, since it asks the database."""

    def __init__(
        self, request: Request, body: ChatRequest, services: Services, who: Principal
    ) -> None:
        self.body = body
        self.services = services
        self.ask = _asked(request, body, services, who)
        self.repeat_name = request.headers.get("idempotency-key", "").strip()
        self.head: dict[str, Any] = {
            "id": f"chatcmpl-{secrets.token_hex(16)}",
            "created": int(time.time()),
            "model": body.model,
        }

    def items(self) -> AsyncGenerator[Piece | Kept, None]:
        """The answer's pieces and its end."""
        request = (self.repeat_name, self.body.model_dump())
        return answered(self.services, self.ask, request, self._kept)

    def _kept(self, ended: Ended, repeat: Repeat | None) -> Kept:
        tokens = None if self.ask.logprobs is None else ended.tokens
        body = chat_body(self.head, ended.text, ended.finished, tokens) | {"memory": ended.memory}
        again = None if repeat is None else replace(repeat, body=body)
        conversation = self.body.conversation_id if self.ask.keep else ""
        return Kept(body, conversation=conversation, repeat=again)

    async def chunks(
        self, items: AsyncGenerator[Piece | Kept, None]
    ) -> AsyncGenerator[ServerSentEvent, None]:
        """The events of a streamed answer."""
        scored, begun = self.ask.logprobs is not None, False
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Kept):
                    self.head = {name: item.body[name] for name in self.head}
                if not begun:
                    yield event(chunk(self.head, {"role": "assistant", "content": ""}))
                if isinstance(item, Piece):
                    begun = True
                    tokens = list(item.tokens) if scored else None
                    yield event(chunk(self.head, {"content": item.text}, tokens))
                    continue
                if not begun and _text_of(item.body):  # it was said before
                    yield event(chunk(self.head, {"content": _text_of(item.body)}))
                for one in self._end(item.body):
                    yield one

    def _end(self, body: dict[str, Any]) -> Iterator[ServerSentEvent]:
        last = chunk(self.head, {}, reason=body["choices"][0]["finish_reason"])
        yield event(last | {"memory": body["memory"]})
        options = self.body.stream_options
        if options is not None and options.include_usage:
            yield event(last | {"choices": [], "usage": body["usage"]})
        yield DONE


def _text_of(body: dict[str, Any]) -> str:
    return str(body["choices"][0]["message"]["content"])


def _asked(request: Request, body: ChatRequest, services: Services, who: Principal) -> Ask:
    pinned = services.ledger.pinned(who, body.conversation_id)
    return replace(
        asked(services, who, request.headers, body, pinned),
        messages=read_messages(body.messages),
        max_new_tokens=body.max_completion_tokens or body.max_tokens,
        logprobs=body.alternatives,
    )
