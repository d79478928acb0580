"""Which memory and which conversation a request means: the first that is given."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import jwt

from memplus.server.faults import Fault, RequestFault
from memplus.server.principals import Principal

__all__ = [
    "Names",
    "background_task",
    "chain_name",
    "forwarded_user",
    "ignores_tools",
    "named_memory",
    "told",
]

_ISSUER = "open-webui"
_SIGNED = "x-openwebui-user-jwt"
_PLAIN = "x-openwebui-user-id"
_CONVERSATIONS = ("x-conversation-id", "x-openwebui-chat-id", "x-session-id")
_INTERFACE = ("x-openwebui-chat-id", "x-memory-task")
_LONGEST = 512


@dataclass(frozen=True)
class Names:
    """What a request's body says of them; empty where it says nothing.

    Attributes:
        memory: field ``memory``.
        metadata: ``memory_id`` of the metadata.
        model: what stands behind ``@`` in the model's name.
        conversation: field ``conversation``.
        pinned: the memory that the conversation, or the response gone on from, began with; empty:
            with none; None: it has not begun, or there is none.
        user: field ``user``.
        safety_identifier: that field.
    """

    memory: str = ""
    metadata: str = ""
    model: str = ""
    conversation: str = ""
    pinned: str | None = None
    user: str = ""
    safety_identifier: str = ""


def named_memory(
    who: Principal, headers: Mapping[str, str], names: Names, secret: str
) -> str | None:
    """The memory that a request means; None for none.

    Args:
        who: asks.
        headers: by their names in lower case.
        names: what the body says.
        secret: what gateways sign users with; empty: their plain headers are believed.

    Raises:
        RequestFault: it is another one than the conversation began with; a name that is too long; a
            user's signature that is wrong.
    """
    given = told(headers, "x-memory-id")
    explicit = given or names.memory or names.metadata or names.model
    if names.pinned is not None:
        if explicit and explicit != names.pinned:
            message = "The conversation belongs to another memory. Begin a new one."
            raise RequestFault.invalid(message, "conversation", "conversation_memory")
        return names.pinned or None
    found = explicit or names.user or names.safety_identifier
    found = found or forwarded_user(who, headers, secret) or who.bound
    if len(found) > _LONGEST:
        message = f"A memory's name has at most {_LONGEST} characters."
        raise RequestFault.invalid(message, "memory")
    return found or None


def told(headers: Mapping[str, str], name: str) -> str:
    """What a header says, blanks around it left out.

    HTTP's headers are bytes, which frameworks read as Latin-1; most clients send names in UTF-8,
    and without this a name would mean another memory in a header than in a path or a body.
    """
    found = headers.get(name, "")
    with suppress(UnicodeError):  # it was Latin-1 indeed
        found = found.encode("latin-1").decode()
    return found.strip()


def forwarded_user(who: Principal, headers: Mapping[str, str], secret: str) -> str:
    """The user for whom a gateway asks; empty where nobody is named, or the key is no gateway's.

    Where the server has a secret, a user counts only with a signature (HS256, issuer, expiry).

    Raises:
        RequestFault: the signature is wrong, or too old.
    """
    if not who.gateway:
        return ""
    if not secret:
        return told(headers, _PLAIN)
    token = headers.get(_SIGNED, "").strip()
    if not token:
        return ""
    required = {"require": ["sub", "exp", "iss"]}
    try:
        claims = jwt.decode(token, secret, ["HS256"], options=required, issuer=_ISSUER)  # type: ignore[arg-type]
    except jwt.InvalidTokenError as error:
        message = "The signed name of the user is not valid, or too old."
        fault = Fault(401, "authentication_error", message, "invalid_user_token")
        raise RequestFault(fault) from error
    return str(claims["sub"]).strip()


def chain_name(headers: Mapping[str, str], conversation: str) -> str:
    """The conversation whose chain a request goes on with; empty: that of the memory.

    Raises:
        RequestFault: it is too long.
    """
    given = (told(headers, name) for name in _CONVERSATIONS)
    found = conversation or next((one for one in given if one), "")
    if len(found) > _LONGEST:
        message = f"The id of a conversation has at most {_LONGEST} characters."
        raise RequestFault.invalid(message, "conversation")
    return found


def background_task(headers: Mapping[str, str]) -> bool:
    """Whether a request is no turn of a person: a title, tags, a query."""
    return bool(headers.get("x-memory-task", "").strip())


def ignores_tools(headers: Mapping[str, str]) -> bool:
    """Whether tools that a request offers may be left unused.

    A client says so by ``X-Memory-Tools: ignore``. Open WebUI offers its own tools with every
    turn and shows a plain answer as well; the headers that its connection is to have tell it.
    """
    if headers.get("x-memory-tools", "").strip().lower() == "ignore":
        return True
    return any(name in headers for name in _INTERFACE)
