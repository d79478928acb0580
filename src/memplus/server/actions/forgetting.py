"""Forgetting: what goes, where else it was kept, and what stays in other memories."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from memplus.errors import MemplusError, UsageError
from memplus.server.beside import Change
from memplus.server.erasure import Choice
from memplus.server.principals import Principal
from memplus.server.services import Services
from memplus.server.wire.memories import ForgetRequest, Forgotten, Gone
from memplus.store import StoredMemory

__all__ = ["forget"]

_MOST_LISTED = 100
_LONGEST_SHOWN = 200
_MOST_MEMORIES = 200
"""So many other memories are looked through for what was forgotten."""
_MOST_COMPARED = 50
"""So many of the forgotten texts are looked for in each."""


async def forget(services: Services, who: Principal, name: str, asked: ForgetRequest) -> Forgotten:
    """Take out what is named, here and wherever the server keeps it beside the memory.

    Raises:
        UsageError: nothing is named, or something that is not there.
    """
    begun = time.perf_counter()
    if asked.source is None and asked.write is None and asked.match is None:
        raise UsageError("Name a source, writes or a text to forget.")
    stored = who.stored(name)
    if asked.dry_run:
        async with services.vault.reading(who, name) as memory:
            choice = await asyncio.to_thread(_chosen, services, memory, asked)
        also = await asyncio.to_thread(
            services.beside.kept_beside, stored, asked.source, asked.match
        )
        return await _told(services, who, name, choice or Choice({}), begun, also=also)
    async with services.vault.writing(who, name) as memory:
        choice = await asyncio.to_thread(_chosen, services, memory, asked)
        if choice is None:
            also = await services.engine.run(
                lambda: services.beside.forget_beside(stored, asked.source, asked.match)
            )
            return await _told(services, who, name, Choice({}), begun, rows=0, also=also)
        change = Change.forgetting(choice, asked.source, asked.match, rebuild=asked.rebuild)

        def forget_it() -> tuple[int, dict[str, int]]:
            with services.beside.changing(stored, change) as also:
                gone = memory.forget(
                    source=asked.source, write=asked.write, match=asked.match, rebuild=asked.rebuild
                )
            return gone.short_term_rows + gone.long_term_rows, also

        rows, also = await services.engine.run(forget_it)
    services.intake.work(who.tenant, name)  # what the memory had no room for
    services.metrics.forgotten(len(choice.texts))
    return await _told(services, who, name, choice, begun, rows=rows, also=also)


def _chosen(services: Services, memory: StoredMemory, asked: ForgetRequest) -> Choice | None:
    """What the memory would forget; None: nothing of it, and what is kept beside it holds it."""
    return services.beside.chosen(memory, asked.source, asked.write, asked.match)


async def _told(
    services: Services,
    who: Principal,
    name: str,
    choice: Choice,
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
    also = {what: count for what, count in also.items() if count}
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


def _remaining(services: Services, who: Principal, name: str, choice: Choice) -> _Remaining:
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
