"""Changes of a memory that are whole or not at all, whatever ends them.

A write keeps the memory's rows where they lie, so it is taken back piece by piece, and nothing of
the pool is copied but what goes: a fork would copy all of it at every write. Other changes are rare
and make most of their rows anew; they are made as a fork of before can be held again.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from memplus.memory.long_term import LongTermPool
from memplus.memory.records import WriteRecord
from memplus.memory.short_term import ShortTermPool

__all__ = ["uninterrupted", "whole_write"]


class Written(Protocol):
    """What a write changes of a memory."""

    pool: ShortTermPool | None
    long_term: LongTermPool | None
    clock: int
    writes: list[WriteRecord]
    version: int
    weights_version: int
    generator: torch.Generator


@contextlib.contextmanager
def whole_write(memory: Written) -> Iterator[None]:
    """A block that makes one write; where it raises, the memory is what it was."""
    pool, stored, clock, count = memory.pool, memory.long_term, memory.clock, len(memory.writes)
    version, weights = memory.version, memory.weights_version
    drawn = memory.generator.get_state()
    mark = None if pool is None else pool.mark()
    # The tables share their rows, and what is added behind those of one is none of the other's.
    memory.long_term = None if stored is None else stored.fork()
    try:
        yield
    except BaseException:
        with uninterrupted():
            if pool is not None and mark is not None:
                pool.back_to(mark)
            memory.pool, memory.long_term, memory.clock = pool, stored, clock
            memory.version, memory.weights_version = version, weights
            memory.generator.set_state(drawn)
            del memory.writes[count:]
        raise


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back for the few milliseconds in which a memory is between two states."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, Any]] = []
    before = signal.getsignal(signal.SIGINT)
    if before is None:  # set by something other than Python: it cannot be put back
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting and callable(before):
            before(*waiting[0])
