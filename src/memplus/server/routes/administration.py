"""Keys of the tenant, and its recent requests."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from memplus.server.asking import Served, Who
from memplus.server.faults import RequestFault
from memplus.server.keys import Key
from memplus.server.principals import SCOPES, Principal, Scope
from memplus.server.wire.administration import KeyHeld, KeyMade, KeyShown, NewKey, RequestShown
from memplus.server.wire.memories import Deleted, Page

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["administration"])


@router.get("/keys")
async def keys(services: Served, who: Who) -> Page[KeyShown]:
    """The tenant's keys, the oldest first, revoked ones too; for admins."""
    _require_admin(who)
    found = await asyncio.to_thread(services.keys.all, who.tenant)
    data = [_shown(one) for one in found if who.covers(one.memory)]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return Page(data=data, first_id=first, last_id=last)


@router.post("/keys", status_code=201)
async def add(asked: NewKey, services: Served, who: Who) -> KeyMade:
    """Make a key of the tenant; its secret is told only here. For admins.

    Once there is a key, every request needs one.
    """
    _require_admin(who)
    if not who.covers(asked.memory):
        raise RequestFault.forbidden("This key can make keys for its own memories only.")

    def make() -> tuple[Key, str]:
        return services.keys.add(
            asked.name,
            tenant=who.tenant,
            scopes=tuple(asked.scopes),
            memory=asked.memory,
            gateway=asked.gateway,
        )

    made, secret = await asyncio.to_thread(make)
    return KeyMade(**_shown(made).model_dump(), key=secret)


@router.get("/keys/current")
async def current(services: Served, who: Who) -> KeyHeld:
    """The key that asks, and what it may do; without keys everybody may do everything."""
    if not who.key:
        return KeyHeld(scopes=list(SCOPES), required=False)
    found = await asyncio.to_thread(services.keys.all, who.tenant)
    held = next(one for one in found if one.id == who.key)
    scopes: list[Scope] = [one for one in SCOPES if who.may(one)]
    return KeyHeld(
        id=held.id, name=held.name, prefix=held.prefix, scopes=scopes, memory=held.memory
    )


@router.delete("/keys/{key}")
async def revoke(key: str, services: Served, who: Who) -> Deleted:
    """End a key by its id, at once. For admins."""
    _require_admin(who)
    found = await asyncio.to_thread(services.keys.all, who.tenant)
    if not any(one.id == key and who.covers(one.memory) for one in found if one.revoked is None):
        raise RequestFault.unknown("key of that id", "key_not_found")
    ended = await asyncio.to_thread(
        lambda: services.keys.revoke(key, tenant=who.tenant, by_name=False)
    )
    return Deleted(id=ended.id, object="key")


@router.get("/requests")
async def requests(
    services: Served, who: Who, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Page[RequestShown]:
    """The last requests, the newest first: of the tenant for admins, of the key for others."""
    found = await asyncio.to_thread(services.tally.recent, who)
    data = [RequestShown(**asdict(one)) for one in found[:limit]]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return Page(data=data, first_id=first, last_id=last, has_more=len(found) > limit)


def _require_admin(who: Principal) -> None:
    if not who.may("admin"):
        raise RequestFault.forbidden("This key has no scope 'admin'.")


def _shown(key: Key) -> KeyShown:
    values = asdict(key)
    values.pop("tenant")
    return KeyShown(**values)
