"""Making memories, looking at them, copying them, going back."""

from __future__ import annotations

import asyncio
import secrets

from memplus.server.beside import Change
from memplus.server.principals import Principal
from memplus.server.services import Services
from memplus.server.vault import Listed
from memplus.server.wire.memories import (
    Described,
    NewMemory,
    Page,
    Refused,
    RollbackRequest,
    Source,
    State,
    Summary,
)
from memplus.sessions.inspection import Contents, contents

__all__ = ["create", "describe", "fork", "history", "listing", "roll_back", "summary"]

_MOST_SOURCES = 200


async def create(services: Services, who: Principal, asked: NewMemory) -> Summary:
    """Make an empty memory."""
    name = asked.id or who.bound or f"mem-{secrets.token_hex(8)}"
    await services.vault.create(
        who, name, asked.metadata, seed=asked.seed, max_bytes=asked.max_bytes, rows=asked.rows
    )
    return summary(await services.vault.look(who, name))


async def listing(
    services: Services, who: Principal, *, after: str = "", limit: int = 20
) -> Page[Summary]:
    """The memories that the principal sees, by name."""
    found = await services.vault.listed(who, after=after, limit=limit + 1)
    data = [summary(one) for one in found[:limit]]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return Page(data=data, first_id=first, last_id=last, has_more=len(found) > limit)


async def describe(services: Services, who: Principal, name: str) -> Described:
    """One memory and what it holds."""
    listed = await services.vault.look(who, name)
    async with services.vault.reading(who, name) as memory:
        held: Contents = await services.engine.run(lambda: contents(memory))
    waiting = await asyncio.to_thread(services.intake.waiting, who.tenant, name)
    refused = await asyncio.to_thread(services.intake.refused, who.tenant, name)
    more_refused = await asyncio.to_thread(services.intake.more_refused, who.tenant, name)
    sources = [
        Source(source=one.source, writes=one.writes, tokens=one.tokens, waiting=one.waiting)
        for one in held.sources
    ]
    return Described(
        **summary(listed).model_dump(),
        sources=sources[:_MOST_SOURCES],
        more_sources=max(0, len(sources) - _MOST_SOURCES),
        short_term_rows=held.short_term_rows,
        long_term_rows=held.long_term_rows,
        ages=held.ages,
        texts_waiting=waiting,
        texts_refused=[Refused(id=id, reason=reason) for id, reason in refused.items()],
        more_texts_refused=more_refused,
    )


def summary(one: Listed) -> Summary:
    """A memory as it is listed."""
    manifest = one.manifest
    return Summary(
        id=one.name,
        created=manifest.created,
        changed=manifest.changed,
        last_used=one.used or None,
        model=manifest.model,
        rows=manifest.rows,
        writes=manifest.writes,
        tokens=manifest.tokens,
        waiting=manifest.waiting,
        bytes=one.nbytes,
        metadata=one.metadata,
    )


async def fork(services: Services, who: Principal, name: str, new_name: str) -> Summary:
    """Make a second memory that begins as this one."""
    await services.vault.fork(who, name, new_name)
    return summary(await services.vault.look(who, new_name))


async def history(services: Services, who: Principal, name: str) -> list[State]:
    """The states that the memory can go back to, oldest first; the last is the present."""
    commits = await services.vault.history(who, name)
    return [
        State(
            commit=one.number, write=one.writes, tokens=one.tokens, waiting=one.waiting,
            what=one.what, time=one.time,
        )
        for one in commits
    ]  # fmt: skip


async def roll_back(
    services: Services, who: Principal, name: str, asked: RollbackRequest
) -> Summary:
    """Make the memory what it was after a commit or a write."""
    async with services.vault.writing(who, name) as memory:

        def go_back() -> None:
            with services.beside.changing(who.stored(name), Change("rollback")):
                memory.rollback(asked.write, commit=asked.commit)

        await services.engine.run(go_back)
    return summary(await services.vault.look(who, name))
