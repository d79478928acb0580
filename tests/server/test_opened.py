from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memplus.errors import MemoryBusyError
from memplus.mplus.model import MPlus
from memplus.server.database import ServerDatabase
from memplus.server.opened import OpenMemories
from memplus.server.settings import ServerSettings
from memplus.server.wanted import SCHEMA, Wanted
from memplus.store import Lease, MemoryStore


@contextmanager
def opening(store: MemoryStore, nano: MPlus, **settings: Any) -> Iterator[OpenMemories]:
    """One server's open memories."""
    database = ServerDatabase(Path(store.path), SCHEMA)
    bounds = replace(ServerSettings(), **settings)
    yield OpenMemories(store, nano, bounds, Wanted(database))
    database.close()


def test_one_object_serves_all_readers_until_it_is_dropped(tmp_path: Path, nano: MPlus) -> None:
    store = MemoryStore(tmp_path)
    store.create("a", nano).close()

    async def run(opened: OpenMemories) -> None:
        async with opened.using("a", write=False) as one, opened.using("a", write=False) as two:
            assert one is two
            assert opened.nbytes == one.nbytes
            async with opened.turn("a"), opened.using("a", write=True) as writing:
                assert writing is not one
                assert not one.closed
            await opened.drop("a")
            assert not one.closed
            assert opened.count == 0
        assert one.closed
        assert writing.closed
        async with opened.using("a", write=False):
            await opened.close_idle()
            assert opened.count == 1
        await opened.close_idle()
        assert opened.count == 0
        await opened.close()

    with opening(store, nano, idle_seconds=0.0) as opened:
        asyncio.run(run(opened))


def two_stores(folder: Path, *, leases: bool) -> tuple[MemoryStore, MemoryStore]:
    """As two servers open one directory."""
    if not leases:
        return MemoryStore(folder), MemoryStore(folder)
    first = MemoryStore(folder, lease=Lease("a", seconds=0.3, margin=0.2))
    return first, MemoryStore(folder, lease=Lease("b", seconds=0.3, margin=0.2))


async def sweeping(opened: OpenMemories) -> None:
    while True:
        await opened.hand_over()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("leases", [False, True])
def test_a_server_lets_go_of_what_another_asks_for_once_it_has_written(
    tmp_path: Path, nano: MPlus, leases: bool
) -> None:
    mine, theirs = two_stores(tmp_path, leases=leases)
    mine.create("a", nano).close()
    order: list[str] = []

    async def run(here: OpenMemories, there: OpenMemories) -> None:
        sweepers = [asyncio.create_task(sweeping(one)) for one in (here, there)]

        async def other() -> None:
            async with there.turn("a"), there.using("a", write=True) as memory:
                order.append("there")
                assert memory.keeper.writable

        async with here.turn("a"), here.using("a", write=True):
            asking = asyncio.create_task(other())
            await asyncio.sleep(0.2)
            order.append("here")
        await asyncio.wait_for(asking, 10)
        assert order == ["here", "there"]
        async with here.turn("a"), here.using("a", write=True):
            order.append("here again")
        for sweeper in sweepers:
            sweeper.cancel()
        await here.close()
        await there.close()

    with opening(mine, nano) as here, opening(theirs, nano) as there:
        asyncio.run(run(here, there))
        assert here._wanted.all() == []
    assert order == ["here", "there", "here again"]


def test_who_reads_what_another_asks_for_reads_to_the_end(tmp_path: Path, nano: MPlus) -> None:
    mine, theirs = two_stores(tmp_path, leases=True)
    mine.create("a", nano).close()

    async def run(here: OpenMemories, there: OpenMemories) -> None:
        async with here.turn("a"), here.using("a", write=True):
            pass
        async with here.using("a", write=False) as reading:
            there._wanted.ask("a")
            await here.hand_over()
            assert not reading.closed
            assert here.count == 0
        assert reading.closed
        async with there.turn("a"), there.using("a", write=True):
            pass
        await there.close()

    with opening(mine, nano) as here, opening(theirs, nano) as there:
        asyncio.run(run(here, there))


def test_who_does_not_let_go_in_time_is_waited_for_no_longer(tmp_path: Path, nano: MPlus) -> None:
    mine, theirs = two_stores(tmp_path, leases=False)
    mine.create("a", nano).close()

    async def run(there: OpenMemories) -> None:
        with pytest.raises(MemoryBusyError):
            async with there.turn("a"), there.using("a", write=True):
                pass
        assert there._wanted.all() == []

    with mine.open("a", nano, write=True), opening(theirs, nano, wait_seconds=0.2) as there:
        asyncio.run(run(there))


def test_a_memory_that_was_taken_over_is_not_read_as_it_was(tmp_path: Path, nano: MPlus) -> None:
    mine, theirs = two_stores(tmp_path, leases=True)
    mine.create("a", nano).close()

    async def run(here: OpenMemories) -> None:
        async with here.turn("a"), here.using("a", write=True) as old:
            nano.write(old, "Anna lives in Oslo.", flush=True)
        mine._holder.let_go("a")  # type: ignore[union-attr]  # as if it stood still from now on
        with theirs.open("a", nano, write=True, wait=5) as taken:
            nano.write(taken, "Bob lives in Rome.", flush=True)
        async with here.using("a", write=False) as memory:
            assert memory is not old
            assert len(memory.writes) == 2
        await here.close()

    with opening(mine, nano) as here:
        asyncio.run(run(here))


@pytest.mark.parametrize("leases", [False, True])
def test_a_memory_that_was_opened_for_somebody_who_has_gone_is_closed(
    tmp_path: Path, nano: MPlus, leases: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = two_stores(tmp_path, leases=leases)
    mine.create("a", nano).close()
    kept: list[object] = []
    really = mine.open

    def slowly(*args: Any, **options: Any) -> Any:
        kept.append(really(*args, **options))
        loop.call_soon_threadsafe(request.cancel)
        return kept[-1]

    async def run(here: OpenMemories) -> None:
        nonlocal loop, request
        loop = asyncio.get_running_loop()

        async def asking() -> None:
            async with here.turn("a"), here.using("a", write=True):
                raise AssertionError

        request = asyncio.create_task(asking())
        await asyncio.wait([request])
        assert request.cancelled()
        other = await asyncio.to_thread(theirs.open, "a", nano, write=True, wait=5)
        other.close()

    loop: asyncio.AbstractEventLoop
    request: asyncio.Task[None]
    monkeypatch.setattr(mine, "open", slowly)
    with opening(mine, nano) as here:
        asyncio.run(run(here))
    assert len(kept) == 1
