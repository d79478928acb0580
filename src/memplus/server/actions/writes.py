"""Writing a text into a memory, once; listing what was written."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace

from memplus.errors import EmptyTextError, MemplusError
from memplus.memory.written_text import require_text
from memplus.server.calls import Call, digest_of, label_of
from memplus.server.faults import RequestFault
from memplus.server.principals import Principal
from memplus.server.services import Services
from memplus.server.wire.memories import LONGEST_SOURCE
from memplus.server.wire.writes import (
    Message,
    Waiting,
    WriteRequest,
    Written,
    WrittenPage,
    WrittenText,
)
from memplus.store import StoredMemory

__all__ = ["Said", "said_of", "write", "written"]

_LOG = logging.getLogger("memplus.server")
_LONGEST_KEY = 255


@dataclass(frozen=True)
class Said:
    """A text to be written."""

    text: str
    source: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    flush: bool = False
    skipped: int = 0
    """Messages that are prompt and never memory."""
    key: str = ""
    """What the client calls this write, so that a repeated one is written once."""
    retried: bool = False
    """Whether the client says that it repeats itself, without such a key."""

    def __post_init__(self) -> None:
        require_text(self.text, "The text")
        require_text(self.source, "The name of the source")
        if len(self.source) > LONGEST_SOURCE:
            message = f"The name of a source has at most {LONGEST_SOURCE} characters."
            raise RequestFault.invalid(message, "source")
        if not self.text.strip():
            raise EmptyTextError()
        if len(self.key) > _LONGEST_KEY:
            raise RequestFault.invalid("An Idempotency-Key is too long.", "Idempotency-Key")

    @property
    def digest(self) -> str:
        """Tells it from any other; of one with a key nobody without the key can guess the text."""
        metadata = repr(sorted(self.metadata.items()))
        key = (self.key,) if self.key else ()
        return digest_of(*key, self.text, self.source, str(self.flush), metadata)


def said_of(request: WriteRequest, *, key: str = "", retried: bool = False) -> Said:
    """What a request wants written: of messages the turns, each on its lines.

    Raises:
        EmptyTextError: nothing.
    """
    turns, skipped = _turns(request.messages or [])
    text = "\n".join(turns) if request.text is None else request.text
    return Said(
        text, request.source, request.metadata, request.flush, skipped, key=key, retried=retried
    )


def _turns(messages: list[Message]) -> tuple[list[str], int]:
    turns = [one.text for one in messages if one.role in ("user", "assistant") and one.text.strip()]
    return turns, len(messages) - len(turns)


async def write(services: Services, who: Principal, name: str, said: Said) -> Written:
    """Write a text; it is durable when this returns. The memory is made where there is none.

    Raises:
        RequestFault, MemplusError: nothing was written.
    """
    begun = time.perf_counter()
    made = not await services.vault.exists(who, name)
    stored = who.stored(name)
    async with services.vault.writing(who, name, create=True) as memory:
        call = await asyncio.to_thread(_earlier, services, memory, stored, said)
        repeated = call is not None
        if call is None:
            call = await _written(services, memory, stored, said)
        waiting = len(memory.tail)
    return Written(
        id=call.id,
        memory=name,
        source=call.source,
        writes=list(call.writes),
        tokens=call.tokens,
        waiting=waiting,
        durable=True,
        repeated=repeated,
        skipped=said.skipped,
        created=made,
        seconds=time.perf_counter() - begun,
    )


def _earlier(services: Services, memory: StoredMemory, stored: str, said: Said) -> Call | None:
    """The call that has written this already.

    Raises:
        RequestFault: the same key came with another text, or so long ago that none can tell.
    """
    if said.key:
        label = label_of(said.key)
        if not memory.has_label(label):
            return None
        call = services.calls.get(stored, label)
        if call is None or call.digest != said.digest:
            raise RequestFault.reused_key()
        return call
    calls = services.calls.written_lately(stored, said.digest) if said.retried else []
    return next((call for call in calls if memory.has_label(call.id)), None)


async def _written(services: Services, memory: StoredMemory, stored: str, said: Said) -> Call:
    """Write it. What is known of the call is kept before, so that whoever repeats it after a crash
    at any moment is known again."""
    label = label_of(said.key) if said.key else f"call-{secrets.token_hex(8)}"
    start = memory.source_tokens.get(said.source, 0)
    start += len(memory.tail) if memory.tail_source == said.source else 0
    tokens = len(await asyncio.to_thread(services.model.encode, said.text))
    call = Call(label, said.digest, said.source, start, tokens, (), said.metadata)
    await asyncio.to_thread(services.calls.add, stored, call)
    before = len(memory.writes)
    try:
        receipt = await services.engine.write(
            memory, said.text, source=said.source, flush=said.flush, label=label
        )
    except MemplusError:
        with suppress(MemplusError):  # without its label it counts for nothing
            if not memory.has_label(label):
                await asyncio.to_thread(services.calls.remove, stored, [label])
        raise
    ids = tuple(one.id for one in memory.writes[before:] if one.source == said.source)
    call = replace(call, tokens=receipt.tokens, writes=ids)
    try:
        await asyncio.to_thread(services.calls.add, stored, call)
    except MemplusError as error:  # the text is written all the same, and that must be said
        _LOG.error("what belongs to write %s could not be kept", label, exc_info=error)
    return call


async def written(
    services: Services, who: Principal, name: str, *, after: int = 0, limit: int = 20
) -> WrittenPage:
    """What was written, oldest first, with the tail behind the last."""
    async with services.vault.reading(who, name) as memory:
        return await asyncio.to_thread(_page, services, memory, who.stored(name), after, limit)


def _page(
    services: Services, memory: StoredMemory, stored: str, after: int, limit: int
) -> WrittenPage:
    left = [one.id for one in memory.writes[max(0, after) :] if one.tokens]
    texts = memory.texts(left[:limit])
    calls = services.calls.described(stored, (one.source for one in texts.values()))
    calls = [call for call in calls if memory.has_label(call.id)]
    data = []
    for one in texts.values():
        metadata: dict[str, str] = {}
        for call in calls:
            if call.source == one.source and call.covers(one.start, one.tokens):
                metadata |= call.metadata
        data.append(
            WrittenText(
                id=one.id, source=one.source, start=one.start, tokens=one.tokens, time=one.time,
                text=one.text, metadata=metadata,
            )
        )  # fmt: skip
    more = len(left) > limit
    tail = None
    if memory.tail and not more:
        tail = Waiting(source=memory.tail_source, tokens=len(memory.tail), text=memory.tail_text)
    ids = [one.id for one in data]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return WrittenPage(data=data, first_id=first, last_id=last, has_more=more, tail=tail)
