"""Asking a memory, and searching it; neither writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from memplus.memory.state import Memory
from memplus.mplus.evidence import Evidence, Retrieved
from memplus.server.engine.requests import Finished, ReadRequest, Sampling
from memplus.server.principals import Principal
from memplus.server.services import Services
from memplus.server.wire.writes import Answered, AskRequest, Drawn, Found, FoundText, SearchRequest
from memplus.store import StoredMemory

__all__ = ["ask", "drawn", "search"]


async def ask(services: Services, who: Principal, name: str, asked: AskRequest) -> Answered:
    """Answer a question from a memory, in the model's own template."""
    begun = time.perf_counter()
    least = services.model.prompt.min_confidence
    least = least if asked.min_confidence is None else asked.min_confidence
    async with services.vault.reading(who, name) as memory:
        text, end = await _read(services, memory, asked.question, asked.max_tokens, least)
    return Answered(
        memory=name,
        answer=text,
        declined=_declined(services.model.prompt.abstention, text, end),
        confidence=end.confidence,
        withheld=end.withheld,
        evidence=[drawn(one) for one in end.evidence] if asked.evidence else None,
        usage=_usage(end),
        seconds=time.perf_counter() - begun,
    )


async def _read(
    services: Services, memory: Memory, question: str, most: int | None, least: float
) -> tuple[str, Finished]:
    """An answer and its end; the attention is always measured, since it gives the confidence."""
    ids = await asyncio.to_thread(services.model.asker.encode, question)
    prompt = services.model.prompt
    sampling = Sampling(most or prompt.max_new_tokens, stop=prompt.stop)
    request = ReadRequest(memory, tuple(ids), sampling, evidence=True, min_confidence=least)
    pieces: list[str] = []
    async for one in services.engine.read(request):
        if isinstance(one, Finished):
            return "".join(pieces), one
        pieces.append(one.text)
    raise RuntimeError("the engine ended without a word")


def _declined(abstention: str, text: str, end: Finished) -> bool:
    return bool(end.withheld) or (abstention != "" and text.strip() == abstention.strip())


def _usage(end: Finished) -> dict[str, int]:
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "total_tokens": end.prompt_tokens + end.completion_tokens,
    }


def drawn(one: Evidence) -> Drawn:
    """What an answer drew on, as every route says it."""
    return Drawn(
        write=one.write_id, source=one.source, start=one.start, tokens=one.tokens,
        share=one.share, text=one.text, score=one.score,
    )  # fmt: skip


async def search(services: Services, who: Principal, name: str, asked: SearchRequest) -> Found:
    """What the retriever finds for a question; behind it, what a read draws on besides.

    The short-term memory and the tail are read whatever is asked, and no retriever looks through
    them; of these, the parts are named to which the question's last token attends most.
    """
    begun = time.perf_counter()
    async with services.vault.reading(who, name) as memory:
        retrieved = await services.engine.retrieve(memory, asked.query)
        found = await asyncio.to_thread(_texts, services, memory, retrieved[: asked.limit])
        if len(found) < asked.limit:
            _, end = await _read(services, memory, asked.query, 1, 0.0)
            found += _besides(found, end.evidence)
    data = found[: asked.limit]
    return Found(memory=name, data=data, seconds=time.perf_counter() - begun)


def _texts(services: Services, memory: StoredMemory, found: list[Retrieved]) -> list[FoundText]:
    """Retrieved writes or spans with what they said; rows that came with the model say nothing."""
    named = [one for one in found if one.write_id]
    said = memory.texts({one.write_id for one in named})
    data: list[FoundText] = []
    for one in named:
        text = said.get(one.write_id)
        words = "" if text is None else text.text
        if text is not None and one.tokens < text.tokens:
            begin = one.start - text.start
            words = services.model.decode(list(text.ids[begin : begin + one.tokens]))
        data.append(
            FoundText(
                write=one.write_id, source=one.source, start=one.start, tokens=one.tokens,
                text=words, score=one.score, share=None,
            )
        )  # fmt: skip
    return data


def _besides(found: list[FoundText], evidence: list[Evidence]) -> Iterator[FoundText]:
    known = {(one.write, one.start) for one in found}
    for one in evidence:
        if (one.write_id, one.start) not in known:
            yield FoundText(
                write=one.write_id, source=one.source, start=one.start, tokens=one.tokens,
                text=one.text, score=one.score, share=one.share,
            )  # fmt: skip
