"""Forgetting: what goes, where else it was kept, and what stays in other memories."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from memplus.errors import MemplusError, UsageError
from memplus.memory.forgetting import Chosen
from memplus.memory.written_text import WrittenText
from memplus.server.principals import Principal
from memplus.server.services import Erased, Services
from memplus.server.wire.memories import ForgetRequest, Forgotten, Gone
from memplus.store import StoredMemory
from memplus.store.erasing import chosen_or_matching

__all__ = ["forget"]

_MOST_LISTED = 100
_LONGEST_SHOWN = 200
_MOST_MEMORIES = 200
"""So many other memories are looked through for what was forgotten."""
_MOST_COMPARED = 50
"""So many of the forgotten texts are looked for in each."""


@dataclass(frozen=True)
class _Choice:
    """What is to go."""

    chosen: Chosen
    texts: dict[int, WrittenText]
    tail: tuple[str, int, str]
    """Source, first token and text of the tail, where it goes too; empty otherwise."""
    tail_tokens: int


async def forget(services: Services, who: Principal, name: str, asked: ForgetRequest) -> Forgotten:
    """Take out what is named, here and wherever the server keeps it beside the memory.

    Raises:
        UsageError: nothing is named, or something that is not there.
    """
    begun = time.perf_counter()
    if asked.source is None and asked.write is None and asked.match is None:
        raise UsageError("Name a source, writes or a text to forget.")
    if asked.dry_run:
        async with services.vault.reading(who, name) as memory:
            choice = await asyncio.to_thread(_chosen, memory, asked)
        return await _told(services, who, name, choice, begun)
    async with services.vault.writing(who, name) as memory:
        choice = await asyncio.to_thread(_chosen, memory, asked)
        gone = await services.engine.run(
            lambda: memory.forget(
                source=asked.source, write=asked.write, match=asked.match, rebuild=asked.rebuild
            )
        )
        also = await _forget_beside(services, who, name, choice, asked)
    rows = gone.short_term_rows + gone.long_term_rows
    services.metrics.forgotten(len(gone.writes))
    return await _told(services, who, name, choice, begun, rows=rows, also=also)


def _chosen(memory: StoredMemory, asked: ForgetRequest) -> _Choice:
    chosen = chosen_or_matching(memory, asked.source, asked.write, asked.match)
    texts = memory.texts(chosen.writes)
    if not chosen.tail:
        return _Choice(chosen, texts, ("", 0, ""), 0)
    start = memory.source_tokens.get(memory.tail_source, 0)
    tail = (memory.tail_source, start, memory.tail_text)
    return _Choice(chosen, texts, tail, len(memory.tail))


async def _forget_beside(
    services: Services, who: Principal, name: str, choice: _Choice, asked: ForgetRequest
) -> dict[str, int]:
    """Everything that the server itself kept of it."""
    stored = who.stored(name)
    parts = [(one.source, one.start, one.tokens) for one in choice.texts.values()]
    texts = [one.text for one in choice.texts.values()]
    if choice.tail_tokens:
        parts.append((*choice.tail[:2], choice.tail_tokens))
        texts.append(choice.tail[2])
    await asyncio.to_thread(services.calls.forget, stored, parts, shift=asked.rebuild)
    sources = {source for source, _, _ in parts}
    erased = Erased(stored, frozenset(sources), tuple(texts), asked.source, asked.match)
    also: dict[str, int] = {}
    for forget_there in services.forgetters:
        for what, count in (await asyncio.to_thread(forget_there, erased)).items():
            also[what] = also.get(what, 0) + count
    return {what: count for what, count in also.items() if count}


async def _told(
    services: Services,
    who: Principal,
    name: str,
    choice: _Choice,
    begun: float,
    **done: object,
) -> Forgotten:
    dry = "rows" not in done
    there = await asyncio.to_thread(_remaining, services, who, name, choice)
    texts = list(choice.texts.values())
    listed = [
        Gone(
            id=one.id, source=one.source, tokens=one.tokens,
            text=one.text[:_LONGEST_SHOWN] if dry else None,
        )
        for one in texts[:_MOST_LISTED]
    ]  # fmt: skip
    also = done.get("also") or {}
    assert isinstance(also, dict)
    rows = done.get("rows")
    assert rows is None or isinstance(rows, int)
    return Forgotten(
        memory=name,
        dry_run=dry,
        writes=listed,
        count=len(texts),
        tokens=sum(one.tokens for one in texts),
        tail_tokens=choice.tail_tokens,
        rows=rows,
        remains_in=there.seen,
        remains_elsewhere=there.unseen,
        all_checked=there.all_checked,
        also_removed=also,
        seconds=time.perf_counter() - begun,
    )


@dataclass
class _Remaining:
    """Other memories of the tenant that hold some of the texts."""

    seen: list[str]
    unseen: bool
    all_checked: bool


def _remaining(services: Services, who: Principal, name: str, choice: _Choice) -> _Remaining:
    """Look for the same writes in the tenant's other memories: forks keep ids, times and texts."""
    wanted = dict(list(choice.texts.items())[-_MOST_COMPARED:])
    found = _Remaining([], unseen=False, all_checked=len(wanted) == len(choice.texts))
    everyone = Principal(who.tenant)
    named = [everyone.named(stored) for stored in services.store.names()] if wanted else []
    checked = 0
    for other in named:
        if other is None or other == name:
            continue
        stored = everyone.stored(other)
        try:
            if services.store.manifest(stored).writes < min(wanted):
                continue
        except MemplusError:  # deleted meanwhile, or damaged
            continue
        if checked >= _MOST_MEMORIES:
            found.all_checked = False
            break
        checked += 1
        try:
            texts = services.store.texts(stored, wanted)
        except MemplusError:
            continue
        if any(texts.get(id) == one for id, one in wanted.items()):
            if who.sees(other):
                found.seen.append(other)
            else:
                found.unseen = True
    return found
