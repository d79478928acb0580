from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from memplus.mplus.model import MPlus
from memplus.server.opened import OpenMemories
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore


def test_one_object_serves_all_readers_until_it_is_dropped(tmp_path: Path, nano: MPlus) -> None:
    store = MemoryStore(tmp_path)
    store.create("a", nano).close()

    async def run() -> None:
        opened = OpenMemories(store, nano, replace(ServerSettings(), idle_seconds=0.0))
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

    asyncio.run(run())
