"""How much a key may ask for in a minute."""

from __future__ import annotations

import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from memplus.server.faults import Fault, RequestFault
from memplus.server.principals import Principal
from memplus.server.settings import ServerSettings

__all__ = ["Rates"]


_MINUTE = 60.0
_SLACK_SECONDS = 1.0
"""So far a clock is put back without anybody counting anew."""


@dataclass(frozen=True)
class _Bound:
    """One of the two things that are counted."""

    what: str
    item: RateLimitItemPerMinute


class Rates:
    """Requests and tokens per minute of each key; without keys nobody is told apart or bounded.

    A minute begins with the first request. What a request costs in tokens is known at its end, so
    the one that passes the bound is still answered, and the next one is not.

    Args:
        settings: the bounds; 0 is none.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._latest = 0.0
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        given = (
            ("requests", settings.requests_per_minute),
            ("tokens", settings.tokens_per_minute),
        )
        self._bounds = [_Bound(what, RateLimitItemPerMinute(most)) for what, most in given if most]

    def enter(self, who: Principal) -> None:
        """Count a request.

        Raises:
            RequestFault: the key has had its share of this minute.
        """
        if not who.key:
            return
        now = time.time()
        if now < self._latest - _SLACK_SECONDS:  # no minute that began later may go on until then
            self._limiter.storage.reset()
        self._latest = now
        for bound in self._bounds:
            requests = bound.what == "requests"
            count = self._limiter.hit if requests else self._limiter.test
            if not count(bound.item, bound.what, who.key):
                raise self._refusal(bound, who)

    def spend(self, who: Principal, tokens: int) -> None:
        """Count what a request cost."""
        for bound in self._bounds:
            if who.key and tokens and bound.what == "tokens":
                self._limiter.hit(bound.item, bound.what, who.key, cost=tokens)

    def headers(self, who: Principal) -> dict[str, str]:
        """What is left of the minute."""
        found: dict[str, str] = {}
        for bound in self._bounds if who.key else ():
            left, seconds = self._left(bound, who)
            found[f"x-ratelimit-limit-{bound.what}"] = str(bound.item.amount)
            found[f"x-ratelimit-remaining-{bound.what}"] = str(left)
            found[f"x-ratelimit-reset-{bound.what}"] = f"{seconds:.3f}s"
        return found

    def _left(self, bound: _Bound, who: Principal) -> tuple[int, float]:
        """What is left, and in how many seconds all of it is there again."""
        stats = self._limiter.get_window_stats(bound.item, bound.what, who.key)
        # A clock that was put back while the request was answered is no reason to wait for years.
        return max(0, stats.remaining), min(_MINUTE, max(0.0, stats.reset_time - time.time()))

    def _refusal(self, bound: _Bound, who: Principal) -> RequestFault:
        _, seconds = self._left(bound, who)
        message = (
            f"This key may have {bound.item.amount} {bound.what} a minute and has had them. "
            f"Try again in {max(1, round(seconds))} s."
        )
        kind, code = "rate_limit_error", f"{bound.what}_per_minute"
        return RequestFault(Fault(429, kind, message, code, retry_after=max(1.0, seconds)))
