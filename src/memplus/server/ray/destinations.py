"""Which memory a request means, as far as it must be known to bring it to the right replica.

It decides only where a request goes, never what it may: the replica reads the request itself, and
says what is wrong with it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import parse_qs

from fastapi.security.utils import get_authorization_scheme_param
from pydantic import ValidationError

from memplus.errors import MemplusError
from memplus.server.database import ServerDatabase
from memplus.server.faults import RequestFault
from memplus.server.keys import Keys
from memplus.server.ledger import Ledger
from memplus.server.naming import Names, named_memory, told
from memplus.server.principals import Principal
from memplus.server.ray.carried import CarriedRequest
from memplus.server.settings import ServerSettings
from memplus.server.values import too_many
from memplus.server.wire.fields import Named
from memplus.server.wire.sound import require_sound
from memplus.server.wire.tools import memory_of

__all__ = ["Destinations"]

_MEMORIES = "/v1/memories"


class Destinations:
    """Finds the session of each request: tenant and memory.

    Args:
        database: keys, and the memories that conversations began with.
        settings: of the server.
    """

    def __init__(self, database: ServerDatabase, settings: ServerSettings) -> None:
        self._keys = Keys(database)
        self._ledger = Ledger(database, settings)
        self._secret = settings.gateway_secret
        self._most = settings.body_values

    def session(self, request: CarriedRequest) -> str:
        """The same for all requests that mean one memory; any where a request means none."""
        who = self._known(request) or Principal()
        memory = self._memory(who, request.headers, request)
        return who.stored(memory) if memory else secrets.token_hex(8)

    def holder(self, request: CarriedRequest) -> Principal | None:
        """Whose request it is; None where it has no key that is known, and needs one."""
        return self._known(request) or (None if self._keys else Principal())

    def _known(self, request: CarriedRequest) -> Principal | None:
        scheme, key = get_authorization_scheme_param(request.headers.get("authorization"))
        return self._keys.holder(key) if scheme.lower() == "bearer" and key else None

    def _memory(self, who: Principal, headers: Mapping[str, str], request: CarriedRequest) -> str:
        body = _object(request.body, self._most)
        if request.path.startswith(_MEMORIES):
            named = request.path.removeprefix(_MEMORIES).removeprefix("/").partition("/")[0]
            asked = parse_qs(request.query).get("id", [""])[0]
            return asked or _text(body, "id") if named in ("", ":import") else named
        if request.path == "/mcp":
            call = _within(body, "params")
            given = memory_of(_text(call, "name"), _within(call, "arguments"))
            return given.strip() or who.bound or told(headers, "x-memory-id")
        with suppress(RequestFault):
            return named_memory(who, headers, self._names(who, body), self._secret) or ""
        return ""

    def _names(self, who: Principal, body: Mapping[str, object]) -> Names:
        """What a request of the OpenAI routes says of names."""
        try:
            named = Named.model_validate({"model": "", **body})
        except ValidationError:
            return Names()
        pinned = None
        if before := _text(body, "previous_response_id"):
            last = self._ledger.answers.response(who, before)
            pinned = None if last is None else last.memory
        elif named.conversation is not None:
            pinned = self._ledger.pinned(who, named.conversation.id.strip())
        return named.names(named.model.partition("@")[2], pinned)


def _object(body: bytes, most: int) -> Mapping[str, object]:
    if too_many(body, most):  # the replica refuses it
        return {}
    with suppress(ValueError, RecursionError, MemplusError, RequestFault):  # no JSON, or unsound
        found = json.loads(body)
        require_sound(found)
        if isinstance(found, dict):
            return found
    return {}


def _within(body: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _text(body: Mapping[str, object], name: str) -> str:
    found = body.get(name)
    return found if isinstance(found, str) else ""
