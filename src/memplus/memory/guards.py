"""Whose turn it is with a memory that several threads use.

Every memory has two locks. ``writing`` is held by a call that changes the memory, from its first
look at it to its end, so that writers take turns with whole texts. ``state`` is held for the moment
in which the memory passes from one whole state to the next, and by whoever needs one state for
longer: a read, a fork, a save. So a read waits for one update, not for a long text.

Locks are taken in this order by all: ``writing``, ``state``, a store's own, the stock model's.
Several of a kind are taken in one order, and a thread may take again what it holds; but a call that
writes or reads a memory may call back, and what it calls may not write the same one. Only a read
takes the model's lock first, so that it holds no memory while it waits for another's pass; it then
takes the states without waiting, or begins anew.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from memplus.errors import UsageError

__all__ = ["Guarded", "Guards", "changing", "holding", "reading", "writing"]

_NUMBERS = itertools.count()


class Guards:
    """The locks of one memory; a copy of the memory has its own."""

    def __init__(self) -> None:
        self.number = next(_NUMBERS)
        self.writing = threading.RLock()
        self.state = threading.RLock()
        # Threads inside a write and inside a read of it; each sets and looks for itself alone.
        self.writer: int | None = None
        self.reader: int | None = None


class Guarded(Protocol):
    """A memory."""

    guards: Guards


@contextlib.contextmanager
def writing(memories: Iterable[Guarded]) -> Iterator[None]:
    """Be the only one who writes these memories; reads go on between two updates.

    Raises:
        UsageError: a call of this thread that writes or reads one of them has not returned.
    """
    guards, own = _in_order(memories), threading.get_ident()
    for one in guards:
        if own in (one.writer, one.reader):
            doing = "written" if one.writer == own else "read"
            raise UsageError(
                f"This memory is being {doing} by a call that this thread has not returned from, "
                "such as one whose callback this is. Write into it when that call is done, or "
                "into a fork of it."
            )
    with contextlib.ExitStack() as stack:
        for one in guards:
            stack.enter_context(one.writing)
            stack.callback(setattr, one, "writer", None)
            one.writer = own
        yield


@contextlib.contextmanager
def holding(memories: Iterable[Guarded]) -> Iterator[None]:
    """Keep these memories in the state in which they are, or change it unseen."""
    with contextlib.ExitStack() as stack:
        for one in _in_order(memories):
            stack.enter_context(one.state)
        yield


@contextlib.contextmanager
def reading(lock: threading.RLock, memories: Sequence[Guarded]) -> Iterator[None]:
    """Have a model to oneself, and memories in one state each, for a read.

    Args:
        lock: the stock model's.
        memories: that are read; one may be named several times.
    """
    guards = _in_order(memories)
    while True:
        with lock, contextlib.ExitStack() as stack:
            if _taken(guards, stack):
                for one in guards:  # a read may stand inside another
                    stack.callback(setattr, one, "reader", one.reader)
                    one.reader = threading.get_ident()
                yield
                return
        with holding(memories):  # until whoever holds one of them is done
            pass


def _taken(guards: Sequence[Guards], stack: contextlib.ExitStack) -> bool:
    """Take all states at once, without waiting; whether there was nobody in the way."""
    for one in guards:
        if not one.state.acquire(blocking=False):
            return False
        stack.callback(one.state.release)
    return True


@contextlib.contextmanager
def changing(memory: Guarded) -> Iterator[None]:
    """Change a memory outside a write, unseen by reads and by writers."""
    with memory.guards.writing, memory.guards.state:
        yield


def _in_order(memories: Iterable[Guarded]) -> list[Guards]:
    found = {memory.guards.number: memory.guards for memory in memories}
    return [found[number] for number in sorted(found)]
