"""Writes that are one commit with a label, from the event loop.

Beginning and ending such a block waits for readers and for the disk, so both are done in threads.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memplus.store import StoredMemory

__all__ = ["labelled"]


@asynccontextmanager
async def labelled(
    memory: StoredMemory, label: str, observe: Callable[[float], object] = float
) -> AsyncIterator[None]:
    """What is written inside is one commit that carries the label; see ``StoredMemory.labelled``.

    Args:
        memory: is written to.
        label: of the commit.
        observe: is told how many seconds the commit took.

    Raises:
        MemplusError: the disk refused; then nothing was written.
    """
    block = memory.labelled(label)
    await asyncio.to_thread(block.__enter__)
    try:
        yield
    except BaseException:
        # Whoever is cancelled leaves all the same only once the memory is what it was.
        await asyncio.shield(asyncio.to_thread(block.__exit__, *sys.exc_info()))
        raise
    begun = time.perf_counter()
    await asyncio.shield(asyncio.to_thread(block.__exit__, None, None, None))
    observe(time.perf_counter() - begun)
