"""``/v1/conversations``: what was said, kept for clients that do not send it again.

The routes are plain functions: they only ask the database, in threads of the framework's.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from memplus.server.asking import Served, Who
from memplus.server.faults import RequestFault
from memplus.server.kept_conversations import MADE, KeptConversation
from memplus.server.naming import Names, named_memory
from memplus.server.principals import Principal
from memplus.server.services import Services
from memplus.server.wire.fields import MemoryOptions, Wire
from memplus.server.wire.items import items_of, page_of, paged, references, require_page
from memplus.server.wire.memories import Metadata

__all__ = ["router"]

router = APIRouter(prefix="/v1/conversations", tags=["openai"])
_MOST_AT_ONCE = 20


class NewConversation(Wire):
    """``POST /v1/conversations``."""

    items: list[Any] | None = None
    metadata: Metadata | None = None
    memory: MemoryOptions | None = None


class Changes(Wire):
    """``POST /v1/conversations/{id}``."""

    metadata: Metadata


class NewItems(Wire):
    """``POST /v1/conversations/{id}/items``."""

    items: list[Any]


@router.post("")
def create(
    request: Request, services: Served, who: Who, body: NewConversation | None = None
) -> dict[str, Any]:
    """Begin a conversation, with a memory if one is named; nothing is written before it goes on."""
    body = body or NewConversation()
    _may_write(who)
    metadata = body.metadata or {}
    names = Names(
        memory=(body.memory.id if body.memory is not None else "").strip(),
        metadata=metadata.get("memory_id", "").strip(),
    )
    memory = named_memory(who, request.headers, names, services.settings.gateway_secret)
    if memory is not None and not who.sees(memory):
        raise RequestFault.unknown_memory(memory)
    id = f"{MADE}{secrets.token_hex(16)}"
    items = _new_items(services, who, body.items or [])
    services.ledger.begin_conversation(who, id, memory, metadata, items)
    return _told(_found(services, who, id))


@router.get("/{id}")
def conversation(id: str, services: Served, who: Who) -> dict[str, Any]:
    """One of them."""
    return _told(_found(services, who, id))


@router.post("/{id}")
def update(id: str, body: Changes, services: Served, who: Who) -> dict[str, Any]:
    """Give one other metadata; its memory stays what it is."""
    _may_write(who)
    _found(services, who, id)
    services.ledger.conversations.update(who, id, body.metadata)
    return _told(_found(services, who, id))


@router.delete("/{id}")
def delete(id: str, services: Served, who: Who) -> dict[str, Any]:
    """Let go of one; what it wrote into its memory stays there."""
    _may_write(who)
    _found(services, who, id)
    services.ledger.conversations.delete(who, id)
    return {"id": id, "object": "conversation.deleted", "deleted": True}


@router.get("/{id}/items")
def items(
    id: str,
    services: Served,
    who: Who,
    after: str | None = None,
    limit: Annotated[int, Query()] = 20,
    order: str = "desc",
) -> dict[str, Any]:
    """What was said in one, the newest first unless asked otherwise."""
    require_page(limit, order)
    _found(services, who, id)
    conversations, newest_first = services.ledger.conversations, order == "desc"
    found = conversations.page(who, id, after, limit + 1, newest_first=newest_first)
    if found is None:
        raise _no_item()
    return page_of(found, limit)


@router.post("/{id}/items")
def add(id: str, body: NewItems, services: Served, who: Who) -> dict[str, Any]:
    """Add what was said elsewhere; it is written when the conversation goes on."""
    _may_write(who)
    _found(services, who, id)
    new = _new_items(services, who, body.items)
    if not services.ledger.add_items(who, id, new):
        raise _unknown()
    return paged(new, None, _MOST_AT_ONCE, "asc")


@router.get("/{id}/items/{item}")
def item(id: str, item: str, services: Served, who: Who) -> dict[str, Any]:
    """One thing that was said."""
    _found(services, who, id)
    found = services.ledger.conversations.item(who, id, item)
    if found is None:
        raise _no_item()
    return found


@router.delete("/{id}/items/{item}")
def delete_item(id: str, item: str, services: Served, who: Who) -> dict[str, Any]:
    """Let go of one thing that was said; what it wrote into the memory stays there."""
    _may_write(who)
    found = _found(services, who, id)
    if not services.ledger.conversations.delete_item(who, id, item):
        raise _no_item()
    return _told(found)


def _new_items(services: Services, who: Principal, given: list[Any]) -> list[dict[str, Any]]:
    if len(given) > _MOST_AT_ONCE:
        raise RequestFault.invalid(f"At most {_MOST_AT_ONCE} items at a time.", "items")
    return items_of(given, "items", services.ledger.referred(who, references(given)))


def _may_write(who: Principal) -> None:
    if not who.may("write"):
        raise RequestFault.forbidden("This key has no scope 'write'.")


def _found(services: Services, who: Principal, id: str) -> KeptConversation:
    if not who.may("read"):
        raise RequestFault.forbidden("This key has no scope 'read'.")
    found = services.ledger.conversations.one(who, id)
    if found is None:
        raise _unknown()
    return found


def _unknown() -> RequestFault:
    return RequestFault.unknown("conversation of that id", "conversation_not_found")


def _no_item() -> RequestFault:
    return RequestFault.unknown("item of that id", "item_not_found")


def _told(found: KeptConversation) -> dict[str, Any]:
    return {
        "id": found.id,
        "object": "conversation",
        "created_at": int(found.created),
        "metadata": found.metadata,
        "memory": {"id": found.memory} if found.memory else None,
    }
