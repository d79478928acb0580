"""Items of conversations: messages, as Responses and Conversations know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memplus.server.faults import Fault, RequestFault
from memplus.server.kept_conversations import KeptConversations
from memplus.server.prompts import ROLES, Message
from memplus.server.wire.fields import plain_text

__all__ = [
    "items_of",
    "messages_of",
    "page_of",
    "paged",
    "references",
    "require_page",
    "said_item",
]

_MOST_LISTED = 100


def references(given: str | list[Any] | None) -> list[str]:
    """The ids of kept items that a client's input stands on instead of repeating them."""
    items = given if isinstance(given, list) else []
    ids = (one.get("id") for one in items if isinstance(one, dict) and _refers(one))
    return list(dict.fromkeys(id for id in ids if isinstance(id, str)))


def items_of(
    given: str | list[Any] | None, param: str, kept: Mapping[str, dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Items for a client's input, each with an id.

    A reference counts as the message that it names. It becomes an item of its own, since an item
    has one place in one conversation.

    Args:
        given: a text of the user's, or a list of messages and of references.
        param: what the client calls it.
        kept: what ``references`` names, as far as it is kept.

    Raises:
        RequestFault: one is no message, or holds more than text; what a reference names is not
            kept, or is named twice.
    """
    if given is None:
        return []
    if isinstance(given, str):
        return [_item("user", given)]
    found: list[dict[str, Any]] = []
    left = dict(kept or {})  # each once, or a short request could mean any length of text
    for index, one in enumerate(given):
        where = f"{param}.{index}"
        if isinstance(one, dict) and _refers(one):
            one = _named(one, f"{where}.id", left)
        if not isinstance(one, dict) or one.get("type", "message") != "message":
            message = "The model takes messages only, no calls or files."
            raise RequestFault.invalid(message, where, "unsupported")
        role = one.get("role")
        if not isinstance(role, str) or role not in ROLES:
            message = "The role is user, assistant, system or developer."
            raise RequestFault.invalid(message, f"{where}.role", "unsupported")
        found.append(_item(role, plain_text(one.get("content"), f"{where}.content")))
    return found


def _refers(item: dict[str, Any]) -> bool:
    return item.get("type") == "item_reference"


def _named(item: dict[str, Any], where: str, left: dict[str, dict[str, Any]]) -> dict[str, Any]:
    id = item.get("id")
    found = left.pop(id, None) if isinstance(id, str) else None
    if found is None:
        message = (
            "The server keeps no item of that id for this key, or the input names it twice; send "
            "the message itself."
        )
        raise RequestFault(Fault(404, "not_found_error", message, "item_not_found", where))
    return found


def _item(role: str, text: str) -> dict[str, Any]:
    if role == "assistant":
        return said_item(KeptConversations.new_item_id(), text, "completed", [])
    return {
        "id": KeptConversations.new_item_id(),
        "type": "message",
        "role": role,
        "status": "completed",
        "content": [{"type": "input_text", "text": text}],
    }


def said_item(
    id: str, text: str | None, status: str, logprobs: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the model said; ``text`` is None where nothing was said yet."""
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [] if text is None else [content],
    }


def messages_of(
    items: Sequence[dict[str, Any]], links: Mapping[str, bytes] | None = None
) -> list[Message]:
    """Items as messages of a chat.

    Args:
        items: in order.
        links: of those that a conversation keeps, by id; empty where it is not known yet.
    """
    kept, found = links or {}, []
    for one in items:
        role, text = ROLES[one["role"]], plain_text(one["content"], "input")
        found.append(Message(role, text, one["id"], kept.get(one["id"], b"")))
    return found


def paged(
    items: Sequence[dict[str, Any]], after: str | None, limit: int, order: str
) -> dict[str, Any]:
    """A page of a list of items.

    Raises:
        RequestFault: there is no item ``after``; see ``require_page``.
    """
    require_page(limit, order)
    listed = list(items) if order == "asc" else list(items)[::-1]
    if after is not None:
        places = [place for place, one in enumerate(listed) if one["id"] == after]
        if not places:
            raise RequestFault.unknown("item of that id", "item_not_found")
        listed = listed[places[0] + 1 :]
    return page_of(listed, limit)


def require_page(limit: int, order: str) -> None:
    """Refuse what no page of a list can be.

    Raises:
        RequestFault: another order than ``asc`` and ``desc``; a limit that is too small or large.
    """
    if order not in ("asc", "desc"):
        raise RequestFault.invalid("order is asc or desc.", "order")
    if not 1 <= limit <= _MOST_LISTED:
        raise RequestFault.invalid(f"limit is in 1 to {_MOST_LISTED}.", "limit")


def page_of(listed: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """The first of these items, and whether there are more."""
    page = list(listed[:limit])
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(listed) > limit,
    }
