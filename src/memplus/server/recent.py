"""The last requests of each tenant, for people who look for one by its id; no text is kept."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

from memplus.server.principals import Principal

__all__ = ["Recent", "RecentRequest"]

_MOST_TENANTS = 1_000


@dataclass(frozen=True)
class RecentRequest:
    """One request that was answered."""

    id: str
    time: float
    """When it came, in seconds since 1970."""
    method: str
    route: str
    """The path as it is declared: no name is in it."""
    status: int
    code: str
    """Of its error; empty where there was none."""
    seconds: float
    key: str
    """Id of the key; empty where the server has none."""


class Recent:
    """A bounded number of requests for each of a bounded number of tenants.

    Args:
        most: of one tenant.
    """

    def __init__(self, most: int = 200) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, deque[RecentRequest]] = OrderedDict()

    def add(self, tenant: str, request: RecentRequest) -> None:
        """Keep one; the oldest goes."""
        with self._lock:
            kept = self._kept.setdefault(tenant, deque(maxlen=self._most))
            kept.append(request)
            self._kept.move_to_end(tenant)
            if len(self._kept) > _MOST_TENANTS:
                self._kept.popitem(last=False)

    def of(self, who: Principal) -> list[RecentRequest]:
        """The newest first: all of the tenant for an admin, those of the key for others."""
        with self._lock:
            kept = list(self._kept.get(who.tenant, ()))
        return [one for one in reversed(kept) if who.may("admin") or one.key == who.key]
