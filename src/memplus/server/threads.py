"""Whose products are divided among the processor's cores: those of the engine alone.

Every thread that divides a product keeps helpers of its own, which wait for the next one. Where
helpers of several threads wait and there are no more cores than helpers, all of them wait asleep,
and waking them for every product halves the engine's speed. So the other threads of a server work
undivided, and the one that loads the model ends and takes its helpers along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["divide", "ended", "in_thread", "settle"]

Result = TypeVar("Result")


def settle() -> None:
    """Let this thread keep the count that it has, whatever others set for themselves later."""
    torch.get_num_threads()  # a thread takes over at its first question what others have set


def divide(count: int) -> None:
    """Let this thread's products run on so many threads."""
    settle()
    torch.set_num_threads(count)


async def ended(work: Callable[[], Result]) -> Result:
    """Do something in a thread that ends afterwards."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="memplus-load")
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    finally:
        thread.shutdown(wait=False)


async def in_thread(attempt: Callable[[], Result], unwanted: Callable[[Result], object]) -> Result:
    """Call a function in a thread, which no cancellation reaches; undo what nobody waits for."""
    calling = asyncio.ensure_future(asyncio.to_thread(attempt))

    def undo(called: asyncio.Future[Result]) -> None:
        if not called.cancelled() and called.exception() is None:
            asyncio.get_running_loop().run_in_executor(None, unwanted, called.result())

    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        calling.add_done_callback(undo)
        raise
