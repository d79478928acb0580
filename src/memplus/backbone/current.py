"""Which pass the calling thread runs: other threads see the stock model.

A pass changes what a model does only for the thread that runs it. Everything that a pass puts in
place (hooks, the attention function, the active adapter, the rotary module) asks here whether the
caller is that thread, and does what the stock model does for all others.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, overload

from torch import nn

__all__ = ["ByThread", "entered", "lock_of", "session_here"]


class _Here(threading.local):
    """The session that a thread runs now, and the config of its model."""

    session: Any = None
    config: Any = None


_HERE = _Here()
_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()


def lock_of(decoder: nn.Module) -> threading.RLock:
    """The one lock of a stock decoder, whoever wraps it; a copy of the decoder has its own."""
    with _MAKING:
        lock = _LOCKS.get(decoder)
        if lock is None:
            lock = _LOCKS[decoder] = threading.RLock()
        return lock


def session_here(config: Any) -> Any:
    """The session that this thread runs on the model of ``config``; None for all others."""
    return _HERE.session if _HERE.config is config else None


@contextlib.contextmanager
def entered(session: object, config: object) -> Iterator[None]:
    """Run a session in this thread; one that it runs already pauses."""
    before = (_HERE.session, _HERE.config)
    _HERE.session, _HERE.config = session, config
    try:
        yield
    finally:
        _HERE.session, _HERE.config = before


class ByThread(Sequence[str]):
    """Names of active adapters: these for the thread that made it, the caller's for all others."""

    def __init__(self, ours: Sequence[str], callers: Sequence[str]) -> None:
        self.callers: list[str] = list(callers)
        self._ours = list(ours)
        self._owner = threading.get_ident()

    def _seen(self) -> list[str]:
        return self._ours if threading.get_ident() == self._owner else self.callers

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._seen()[index]

    def __len__(self) -> int:
        return len(self._seen())
