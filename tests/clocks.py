"""Another time of day for a test, and for nobody who works beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

__all__ = ["set_clock"]


def set_clock(monkeypatch: pytest.MonkeyPatch, now: Callable[[], float]) -> None:
    """Let ``time.time`` be ``now`` for the test and the threads that begin from here on.

    A server that other tests share runs in this process, and must not see a clock that jumps.

    Args:
        monkeypatch: undoes it.
        now: seconds since 1970.
    """
    real, own = time.time, threading.get_ident()
    others = {one.ident for one in threading.enumerate()} - {own}
    monkeypatch.setattr(time, "time", lambda: real() if threading.get_ident() in others else now())
