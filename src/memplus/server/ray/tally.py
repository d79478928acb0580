"""One tally for all replicas, so that a key's minute is one, whichever replica answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from memplus.server.faults import RequestFault
from memplus.server.principals import Principal
from memplus.server.ray.ingress import Unreachable
from memplus.server.recent import RecentRequest
from memplus.server.settings import ServerSettings
from memplus.server.tally import Admission, Tally

__all__ = ["SharedTally"]

_SILENCE_SECONDS = 5.0
"""So long a tally that did not answer is not asked again: requests should not wait for it each."""


class SharedTally(Tally):
    """A tally that asks the one of another process.

    Where that cannot be reached (it is being replaced), the replica counts for itself and nothing
    is added to the list of recent requests: no request fails for want of a count.

    Args:
        settings: the bounds.
        ask: calls a method of the other tally, by its name, and waits for what it gives.
        tell: the same, without waiting.

    Both raise ``Unreachable``.
    """

    def __init__(
        self, settings: ServerSettings, ask: Callable[..., Any], tell: Callable[..., None]
    ) -> None:
        super().__init__(settings)
        self._bounded = bool(settings.requests_per_minute or settings.tokens_per_minute)
        self._ask = ask
        self._tell = tell
        self._silent_until = 0.0

    def admit(self, who: Principal) -> Admission:
        """See ``Tally.admit``; blocks until the other process has answered."""
        if not (who.key and self._bounded):
            return Admission()
        if time.monotonic() >= self._silent_until:
            try:
                found = self._ask("admit", who)
                assert isinstance(found, Admission)
                return found
            except Unreachable:
                self._silent_until = time.monotonic() + _SILENCE_SECONDS
        return super().admit(who)

    def answered(self, who: Principal, tokens: int, request: RecentRequest) -> None:
        """See ``Tally.answered``."""
        try:
            self._tell("answered", who, tokens, request)
        except Unreachable:
            super().answered(who, tokens, request)

    def recent(self, who: Principal) -> list[RecentRequest]:
        """See ``Tally.recent``; blocks until the other process has answered."""
        try:
            found = self._ask("recent", who)
        except Unreachable as error:
            message = "The list of recent requests cannot be had right now."
            raise RequestFault.unavailable(message, "loading", 2.0) from error
        assert isinstance(found, list)
        return found
