"""``/v1/responses``: answers that are kept, and gone on from."""

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
from memplus.server.faults import Fault, RequestFault
from memplus.server.kept_answers import KeptResponse, Repeat
from memplus.server.kept_conversations import KeptConversations
from memplus.server.ledger import Kept
from memplus.server.naming import ignores_tools
from memplus.server.principals import Principal
from memplus.server.prompts import Message
from memplus.server.repeats import answered, retried
from memplus.server.services import Services
from memplus.server.wire.chat import chances
from memplus.server.wire.fields import refuse
from memplus.server.wire.items import items_of, messages_of, paged, references, said_item
from memplus.server.wire.responses import ResponseRequest, response_body, response_usage
from memplus.server.wire.sse import begun, event, last_of, streamed, unless_gone

__all__ = ["router"]

router = APIRouter(prefix="/v1/responses", tags=["openai"])
_OPEN = ("status", "completed_at", "incomplete_details", "output", "usage")
"""Fields of a response that are known at its end."""


@router.post("")
async def respond(request: Request, body: ResponseRequest, services: Served, who: Who) -> Response:
    """Answer; the new turns are written into the memory, and the response is kept."""
    services.require_ready()
    body.check(ignores_tools=ignores_tools(request.headers))
    talk = await asyncio.to_thread(_Talk, request, body, services, who)
    if not body.stream:
        kept = await unless_gone(request, last_of(talk.items(), Kept))
        return JSONResponse(kept.body)
    items = await begun(request, talk.items())
    events = _Events(talk)
    return streamed(events.all(items), services.settings.ping_seconds, failed=events.failed)


@router.get("/{id}")
def response(id: str, services: Served, who: Who, *, stream: bool = False) -> dict[str, Any]:
    """One that is kept."""
    refuse("stream", stream, "a kept response is given whole; ask for it without stream")
    return _found(services, who, id).body


@router.delete("/{id}")
def delete(id: str, services: Served, who: Who) -> dict[str, Any]:
    """Let go of one that is kept; what it wrote into its memory stays there."""
    if not services.ledger.answers.delete(who, id):
        raise RequestFault.unknown("response of that id", "response_not_found")
    return {"id": id, "object": "response", "deleted": True}


@router.get("/{id}/input_items")
def input_items(
    id: str,
    services: Served,
    who: Who,
    after: str | None = None,
    limit: int = 20,
    order: str = "desc",
) -> dict[str, Any]:
    """What one that is kept was asked."""
    return paged(_found(services, who, id).said, after, limit, order)


def _found(services: Services, who: Principal, id: str) -> KeptResponse:
    if not who.may("read"):
        raise RequestFault.forbidden("This key has no scope 'read'.")
    found = services.ledger.answers.response(who, id)
    if found is None:
        raise RequestFault.unknown("response of that id", "response_not_found")
    return found


class _Talk:
    """One request and its answer; made in a thread, since it reads what was said before."""

    def __init__(
        self, request: Request, body: ResponseRequest, services: Services, who: Principal
    ) -> None:
        self.request = request
        self.body = body
        self.services = services
        kept = services.ledger.referred(who, references(body.input))
        self.said = items_of(body.input, "input", kept)
        if not self.said:
            raise RequestFault.invalid("There is nothing to answer.", "input")
        self.conversation = body.conversation_id
        self.item_id = KeptConversations.new_item_id()
        self.ask = self._asked(who)
        id, created = f"resp_{secrets.token_hex(16)}", int(time.time())
        self.begun = response_body(body, id, created, self.conversation)

    def _asked(self, who: Principal) -> Ask:
        body = self.body
        before, pinned = self._before(who)
        talks, id = self.services.ledger.conversations, self.conversation
        links = talks.links(who, id) if id else {}
        system = [Message("system", body.instructions)] if body.instructions else []
        return replace(
            asked(self.services, who, self.request.headers, body, pinned),
            messages=(*system, *messages_of([*before, *self.said], links)),
            answer_item=self.item_id if self.conversation else "",
            max_new_tokens=body.max_output_tokens,
            logprobs=body.alternatives,
        )

    def _before(self, who: Principal) -> tuple[list[dict[str, Any]], str | None]:
        """What was said before, and the memory that it was said to."""
        ledger = self.services.ledger
        if self.body.previous_response_id:
            last = ledger.answers.response(who, self.body.previous_response_id)
            if last is None:
                what = "response of that id to go on from"
                raise RequestFault.unknown(what, "previous_response_not_found")
            chain = ledger.answers.chain(who, last)
            return [item for one in chain for item in (*one.said, *one.body["output"])], last.memory
        if not self.conversation:
            return [], None
        if ledger.conversations.one(who, self.conversation) is None:
            raise RequestFault.unknown("conversation of that id", "conversation_not_found")
        pinned = ledger.pinned(who, self.conversation)
        return ledger.conversations.items(who, self.conversation), pinned

    async def items(self) -> AsyncGenerator[Piece | Kept, None]:
        """The answer's pieces and its end."""
        name = self.request.headers.get("idempotency-key", "").strip()
        earlier = None if name else await asyncio.to_thread(self._earlier)
        if earlier is not None:
            yield Kept(earlier.body)
            return
        request = (name, self.body.model_dump())
        async with aclosing(answered(self.services, self.ask, request, self._kept)) as items:
            async for item in items:
                yield item

    def _earlier(self) -> KeptResponse | None:
        """What a client did not hear the first time and asks for again, without a key.

        The conversation has gone on by then: it would take the same words as said twice.
        """
        if not self.conversation or not retried(self.request.headers):
            return None
        last = self.services.ledger.answers.last_in(self.ask.who, self.conversation)
        if last is None or last.memory != (self.ask.memory or ""):
            return None
        return last if _contents(last.said) == _contents(self.said) else None

    def _kept(self, ended: Ended, repeat: Repeat | None) -> Kept:
        finished = ended.finished
        status = "completed" if finished.reason == "stop" else "incomplete"
        logprobs = [] if self.ask.logprobs is None else chances(ended.tokens)
        item = said_item(self.item_id, ended.text, status, logprobs)
        cut = None if status == "completed" else {"reason": "max_output_tokens"}
        body = self.begun | {
            "status": status,
            "completed_at": int(time.time()),
            "incomplete_details": cut,
            "output": [item],
            "usage": response_usage(finished),
            "memory": ended.memory,
        }
        if not self.ask.keep:
            return Kept(body)
        memory, previous = self.ask.memory or "", self.body.previous_response_id or ""
        kept = KeptResponse(body["id"], memory, previous, self.said, body)
        items = (*self.said, item) if self.conversation else ()
        again = None if repeat is None else replace(repeat, body=body)
        return Kept(body, kept, self.conversation, items, again)


def _contents(items: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(one["role"], one["content"]) for one in items]


class _Events:
    """The events of a streamed response, counted."""

    def __init__(self, talk: _Talk) -> None:
        self._response = talk.begun
        self._item_id = talk.item_id
        self._count = 0

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    def _one(self, kind: str, **data: Any) -> ServerSentEvent:
        number, self._count = self._count, self._count + 1
        return event({"type": kind, "sequence_number": number} | data, kind)

    def failed(self, fault: Fault) -> ServerSentEvent:
        """What ends a stream that failed; the stock client raises what stands under ``error``."""
        told = {"code": fault.code, "message": fault.message, "param": fault.param}
        return self._one("error", **told, **fault.body)

    async def all(
        self, items: AsyncGenerator[Piece | Kept, None]
    ) -> AsyncGenerator[ServerSentEvent, None]:
        """From the first to the last."""
        begun = False
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Kept) and not begun:  # it was said before, or is empty
                    self._response = item.body | {name: self._response[name] for name in _OPEN}
                    self._item_id = item.body["output"][0]["id"]
                if not begun:
                    for one in self._beginning():
                        yield one
                if isinstance(item, Piece):
                    begun = True
                    yield self._delta(item.text, chances(list(item.tokens)))
                    continue
                said = item.body["output"][0]["content"][0]
                if not begun and said["text"]:
                    yield self._delta(said["text"], said["logprobs"])
                for one in self._end(item.body):
                    yield one

    def _beginning(self) -> Iterator[ServerSentEvent]:
        yield self._one("response.created", response=self._response)
        yield self._one("response.in_progress", response=self._response)
        item = said_item(self._item_id, None, "in_progress", [])
        yield self._one("response.output_item.added", output_index=0, item=item)
        part = said_item("", "", "", [])["content"][0]
        yield self._one("response.content_part.added", **self._place, part=part)

    def _delta(self, text: str, logprobs: list[dict[str, Any]]) -> ServerSentEvent:
        said = {"delta": text, "logprobs": logprobs}
        return self._one("response.output_text.delta", **self._place, **said)

    def _end(self, body: dict[str, Any]) -> Iterator[ServerSentEvent]:
        item = body["output"][0]
        said = item["content"][0]
        done = {"text": said["text"], "logprobs": said["logprobs"]}
        yield self._one("response.output_text.done", **self._place, **done)
        yield self._one("response.content_part.done", **self._place, part=said)
        yield self._one("response.output_item.done", output_index=0, item=item)
        kind = "completed" if body["status"] == "completed" else "incomplete"
        yield self._one(f"response.{kind}", response=body)
