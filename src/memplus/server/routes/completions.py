"""``POST /v1/completions``: prompts as they are, with a memory or without; nothing is written."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sse_starlette import ServerSentEvent

from memplus.memory.state import Memory
from memplus.server.asking import Served, Who
from memplus.server.engine.requests import Finished, Piece, ReadRequest, Sampling, TokenScore
from memplus.server.faults import Fault, RequestFault
from memplus.server.measured import charge
from memplus.server.naming import named_memory
from memplus.server.principals import Principal
from memplus.server.scoring import score_prompt
from memplus.server.services import Services
from memplus.server.wire.chat import usage
from memplus.server.wire.completions import Columns, CompletionRequest
from memplus.server.wire.fields import served_model, stops
from memplus.server.wire.sse import DONE, begun, event, last_of, streamed, unless_gone

__all__ = ["router"]

router = APIRouter(tags=["openai"])
_TOKENS = 16
"""Of an answer whose request does not say."""


@router.post("/v1/completions")
async def complete(
    request: Request, body: CompletionRequest, services: Served, who: Who
) -> Response:
    """Go on with prompts, or tell how likely their own tokens are (``echo`` and ``logprobs``)."""
    services.require_ready()
    body.check()
    completing = _Completing(request, body, services, who)
    if not body.stream:
        whole = await unless_gone(request, last_of(completing.whole(), dict))
        return JSONResponse(whole)
    items = await begun(request, completing.one(0))
    ping = services.settings.ping_seconds
    return streamed(completing.chunks(items), ping, failed=_failed)


def _failed(fault: Fault) -> ServerSentEvent:
    return event(fault.body)


@dataclass(frozen=True)
class _Echo:
    """The prompt itself."""

    text: str
    tokens: list[TokenScore | bytes]


@dataclass
class _Said:
    """One answer."""

    text: str = ""
    tokens: list[TokenScore | bytes] = field(default_factory=list)
    finished: Finished = field(default_factory=lambda: Finished("length", 0, 0))


class _Completing:
    """One request and its answers."""

    def __init__(
        self, request: Request, body: CompletionRequest, services: Services, who: Principal
    ) -> None:
        self.body = body
        self.services = services
        self.who = who
        self.prompts = body.prompts
        self.state = 0
        self.most = _TOKENS if body.max_tokens is None else body.max_tokens
        if not self.most and not body.echo:
            raise RequestFault.invalid("max_tokens: 0 needs echo.", "max_tokens")
        model_memory = served_model(body.model, services.model_name)
        names = body.names(model_memory, None)
        secret = services.settings.gateway_secret
        self.memory = named_memory(who, request.headers, names, secret)
        self.stop = stops(body.stop)
        self.head: dict[str, Any] = {
            "id": f"cmpl-{secrets.token_hex(16)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": body.model,
        }

    async def whole(self) -> AsyncGenerator[dict[str, Any], None]:
        """The answers to all prompts, together."""
        said = []
        for place in range(len(self.prompts)):
            one = _Said()
            async with aclosing(self.one(place)) as items:
                async for item in items:
                    if isinstance(item, Finished):
                        one.finished = item
                        continue
                    one.text += item.text
                    one.tokens += item.tokens
            said.append(one)
        choices = [
            self._choice(place, Columns(), one.text, one.tokens, one.finished.reason)
            for place, one in enumerate(said)
        ]
        read = sum(one.finished.prompt_tokens for one in said)
        new = sum(one.finished.completion_tokens for one in said)
        told = usage(Finished("stop", read, new))
        yield self.head | {"choices": choices, "usage": told, "memory": self._report()}

    def _choice(
        self,
        place: int,
        columns: Columns,
        text: str,
        tokens: Sequence[TokenScore | bytes] = (),
        reason: str | None = None,
    ) -> dict[str, Any]:
        logprobs = None if self.body.logprobs is None else columns.of(tokens)
        return {"index": place, "text": text, "logprobs": logprobs, "finish_reason": reason}

    def _report(self) -> dict[str, Any]:
        return {"id": self.memory, "state": self.state, "written": [], "durable": False}

    async def one(self, place: int) -> AsyncGenerator[_Echo | Piece | Finished, None]:
        """The answer to one prompt, piece by piece."""
        services, body = self.services, self.body
        ids = await services.engine.run(lambda: self._ids(place))
        async with AsyncExitStack() as stack:
            memory = await self._opened(stack)
            if body.echo:
                yield await self._echoed(memory, ids)
            if not self.most:
                services.metrics.prompt_tokens.inc(len(ids))
                charge(len(ids))
                yield Finished("length", len(ids), 0)
                return
            sampling = Sampling(
                max_new_tokens=self.most,
                temperature=body.temperature or 0.0,
                top_p=body.top_p or 1.0,
                seed=body.seed,
                stop=self.stop,
                logprobs=body.logprobs,
                strip=False,
            )
            request = ReadRequest(memory, tuple(ids), sampling)
            async with aclosing(services.engine.read(request)) as items:
                async for item in items:
                    yield item

    async def _opened(self, stack: AsyncExitStack) -> Memory | None:
        if self.memory is None:
            if not self.who.may("read"):
                raise RequestFault.forbidden("This key has no scope 'read'.")
            return None
        reading = self.services.vault.reading(self.who, self.memory)
        memory = await stack.enter_async_context(reading)
        self.state = memory.keeper.manifest.commit
        return memory

    def _ids(self, place: int) -> list[int]:
        prompt, model = self.prompts[place], self.services.model
        if isinstance(prompt, str):
            return model.encode(prompt)
        model.core.check_ids(prompt)
        return list(prompt)

    async def _echoed(self, memory: Memory | None, ids: list[int]) -> _Echo:
        engine, model, count = self.services.engine, self.services.model, self.body.logprobs
        tokens: list[TokenScore | bytes] = []
        if count is not None:
            tokens = await engine.run(lambda: score_prompt(model, memory, ids, count))
        text = await engine.run(lambda: str(model.tokenizer.decode(ids)))
        return _Echo(text, tokens)

    async def chunks(
        self, items: AsyncGenerator[_Echo | Piece | Finished, None]
    ) -> AsyncGenerator[ServerSentEvent, None]:
        """The events of a streamed answer."""
        columns = Columns()
        async with aclosing(items):
            async for item in items:
                if not isinstance(item, Finished):
                    choice = self._choice(0, columns, item.text, item.tokens)
                    yield event(self.head | {"choices": [choice]})
                    continue
                last = self.head | {"choices": [self._choice(0, columns, "", reason=item.reason)]}
                yield event(last | {"memory": self._report()})
                options = self.body.stream_options
                if options is not None and options.include_usage:
                    yield event(self.head | {"choices": [], "usage": usage(item)})
        yield DONE
