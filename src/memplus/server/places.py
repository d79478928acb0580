"""Places of requests in flight, of which nobody can take all.

A place is taken before a request's body has come, so it must not be had for nothing: whoever has no
key where keys are needed has only the few places that are set apart, and is not listened to, and a
key gets no more while it holds as many as are left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi.security.utils import get_authorization_scheme_param
from starlette.types import Scope

from memplus.server.faults import Fault, RequestFault

if TYPE_CHECKING:
    from memplus.server.services import Services

__all__ = ["ANYBODY", "NOBODY", "PROBES", "Places"]

ANYBODY = ""
"""Holds the places of a server without keys."""
NOBODY = "no key"
"""Holds those of requests without a known key, where keys are needed."""
PROBES = "probes"
"""Holds those of requests that are always answered."""


class Places:
    """Who holds how many.

    Args:
        services: the keys, the settings and how many requests run.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._held: Counter[str] = Counter()

    async def holder(self, scope: Scope) -> str:
        """Whose place a request would take: the id of its key, ``ANYBODY`` or ``NOBODY``."""
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        given = values[0].decode("latin-1") if values else ""
        scheme, secret = get_authorization_scheme_param(given)
        key = secret if scheme.lower() == "bearer" else ""
        return await asyncio.to_thread(self._holder, key)

    def _holder(self, key: str) -> str:
        keys = self._services.keys
        found = keys.holder(key) if key else None
        if found is not None:
            return found.key
        return NOBODY if keys else ANYBODY

    def refusal(self, holder: str) -> Fault | None:
        """Why a request gets no place, or nothing."""
        settings, held = self._services.settings, self._held[holder]
        if holder == PROBES:
            return None
        if holder == NOBODY:
            full = held >= settings.keyless_requests
            return _overloaded("Too many requests without a key at once.") if full else None
        apart = self._held[PROBES] + self._held[NOBODY]
        left = settings.requests - (self._services.running_requests - apart)
        if left <= 0:
            return _overloaded("Too many requests at once.")
        if holder != ANYBODY and held >= left:
            return _overloaded("Too many requests of this key at once.")
        return None

    @contextmanager
    def taken(self, holder: str) -> Iterator[None]:
        """A block in which a request runs."""
        self._services.running_requests += 1
        self._held[holder] += 1
        try:
            yield
        finally:
            self._services.running_requests -= 1
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]


def _overloaded(message: str) -> Fault:
    return RequestFault.unavailable(message, "overloaded", 1.0).fault
