"""Calls that need the model's thread and are no answers: writes, retrievals, anything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from memplus.errors import OverloadedError
from memplus.server.engine.handing import Promise
from memplus.server.engine.requests import EngineLimits

__all__ = ["Calls"]

_RETRY = 5
"""Seconds after which to try again: calls are short."""


class Calls:
    """Functions that wait for the model's thread, first come first served."""

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self._waiting: deque[tuple[Callable[[], Any], Promise[Any]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, function: Callable[[], Any], promise: Promise[Any]) -> None:
        """Take one in; from any thread.

        Raises:
            OverloadedError: too many wait already.
        """
        if len(self) >= self.limits.writes_waiting:
            raise OverloadedError(reason=f"{len(self)} calls wait already", retry_after=_RETRY)
        self._waiting.append((function, promise))

    def step(self) -> None:
        """Make the first call, in the engine's thread."""
        function, promise = self._waiting.popleft()
        if not promise.claim():
            return
        try:
            promise.keep(function())
        except Exception as error:
            promise.fail(error)

    def fail_all(self, error: BaseException) -> None:
        """End every call that waits with an error."""
        while self._waiting:
            self._waiting.popleft()[1].fail(error)
