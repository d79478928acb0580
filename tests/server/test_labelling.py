from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from memplus.errors import UsageError
from memplus.mplus.model import MPlus
from memplus.server.labelling import labelled
from memplus.store import MemoryStore


def test_what_is_written_inside_is_one_labelled_commit(tmp_path: Path, nano: MPlus) -> None:
    seconds: list[float] = []

    async def run() -> None:
        with MemoryStore(tmp_path).create("ann", nano) as memory:
            async with labelled(memory, "4f1c", seconds.append):
                await asyncio.to_thread(nano.write, memory, "One.", source="a")
                await asyncio.to_thread(nano.write, memory, "Two.", source="b")
            assert [one.what for one in memory.history()] == ["create", "write 4f1c"]

    asyncio.run(run())
    assert len(seconds) == 1
    assert seconds[0] > 0


def test_a_failure_inside_leaves_the_memory_as_it_was(tmp_path: Path, nano: MPlus) -> None:
    async def run() -> None:
        with MemoryStore(tmp_path).create("ann", nano) as memory:
            with pytest.raises(UsageError):
                async with labelled(memory, "4f1c"):
                    await asyncio.to_thread(nano.write, memory, "One.")
                    raise UsageError("no")
            assert (memory.tail, memory.has_label("4f1c")) == ([], False)

    asyncio.run(run())


def test_who_is_cancelled_inside_leaves_the_memory_as_it_was(tmp_path: Path, nano: MPlus) -> None:
    async def run() -> None:
        with MemoryStore(tmp_path).create("ann", nano) as memory:
            inside = asyncio.Event()

            async def write() -> None:
                async with labelled(memory, "4f1c"):
                    await asyncio.to_thread(nano.write, memory, "One.")
                    inside.set()
                    await asyncio.sleep(60)

            task = asyncio.create_task(write())
            await inside.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (memory.tail, memory.has_label("4f1c")) == ([], False)
            async with labelled(memory, "5a2d"):  # the next one is not in its way
                await asyncio.to_thread(nano.write, memory, "Two.")
            assert memory.has_label("5a2d")

    asyncio.run(run())
