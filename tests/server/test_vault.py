from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from memplus.errors import MemoryBusyError, MemoryExistsError
from memplus.mplus.model import MPlus
from memplus.server import vault as module
from memplus.server.database import ServerDatabase
from memplus.server.faults import RequestFault
from memplus.server.principals import Principal
from memplus.server.settings import ServerSettings
from memplus.server.vault import Vault
from memplus.store import MemoryStore

ANN, BOB, ALL = Principal("acme"), Principal("other"), Principal()
READER = Principal("acme", scopes=frozenset({"read"}))


def made(database: ServerDatabase, nano: MPlus, **settings: Any) -> Vault:
    store = MemoryStore(database.path.parent)
    return Vault(store, nano, replace(ServerSettings(), **settings), database)


def code(error: pytest.ExceptionInfo[RequestFault]) -> str:
    return error.value.fault.code


def test_names_lie_inside_the_tenant(database: ServerDatabase, nano: MPlus) -> None:
    async def run() -> None:
        vault = made(database, nano)
        for who in (ANN, BOB, ALL):
            await vault.create(who, "notes", {"of": who.tenant})
        assert sorted(vault.store) == ["acme/notes", "notes", "other/notes"]
        for who in (ANN, BOB, ALL):
            (one,) = await vault.listed(who)
            assert (one.name, one.metadata) == ("notes", {"of": who.tenant})
        await vault.delete(BOB, "notes")
        assert sorted(vault.store) == ["acme/notes", "notes"]
        for name in ("acme/notes", "../acme/notes", "/notes", ""):
            for attempt in (vault.delete, vault.look, vault.create):
                with pytest.raises(RequestFault) as error:
                    await attempt(ALL, name)
                assert code(error) == "memory_not_found"

    asyncio.run(run())


def test_a_key_that_only_reads_changes_nothing(database: ServerDatabase, nano: MPlus) -> None:
    async def run() -> None:
        vault = made(database, nano)
        await vault.create(ANN, "notes")
        attempts = (
            vault.create(READER, "b"),
            vault.delete(READER, "notes"),
            vault.fork(READER, "notes", "b"),
            vault.writing(READER, "notes").__aenter__(),
        )
        for attempt in attempts:
            with pytest.raises(RequestFault) as error:
                await attempt
            assert code(error) == "forbidden"
        async with vault.reading(READER, "notes") as memory:
            assert memory.id == "acme/notes"
        await vault.close()

    asyncio.run(run())


def test_reading_what_is_not_there_makes_nothing(database: ServerDatabase, nano: MPlus) -> None:
    async def run() -> None:
        vault = made(database, nano)
        with pytest.raises(Exception, match="notes"):
            async with vault.reading(ANN, "notes"):
                pass
        assert len(vault.store) == 0
        async with vault.writing(ANN, "notes", create=True):
            pass
        assert list(vault.store) == ["acme/notes"]
        with pytest.raises(MemoryExistsError):
            await vault.create(ANN, "notes")
        await vault.close()

    asyncio.run(run())


def test_what_is_kept_beside_a_memory_begins_anew_before_another_server_can_use_it(
    database: ServerDatabase, nano: MPlus
) -> None:
    async def run() -> None:
        vault, other, begun = made(database, nano), MemoryStore(database.path.parent), []

        def making(stored: str) -> None:
            begun.append(stored)
            with pytest.raises(MemoryBusyError):
                other.create(stored, nano)

        @contextmanager
        def forking(stored: str, new: str) -> Iterator[None]:
            assert stored == "acme/notes"
            making(new)
            yield

        vault.making, vault.forking = making, forking
        await vault.create(ANN, "notes", {"of": "acme"})
        await vault.fork(ANN, "notes", "copy")
        async with vault.writing(ANN, "more", create=True):
            pass
        assert begun == ["acme/notes", "acme/copy", "acme/more"]
        with pytest.raises(MemoryExistsError):
            await vault.create(ANN, "notes")
        assert len(begun) == 3
        assert [one.metadata for one in await vault.listed(ANN)] == [
            {"of": "acme"},
            {},
            {"of": "acme"},
        ]
        await vault.close()

    asyncio.run(run())


def test_writers_take_turns_and_readers_do_not_wait(database: ServerDatabase, nano: MPlus) -> None:
    async def run() -> None:
        vault, order = made(database, nano), []
        await vault.create(ANN, "notes")

        async def write(number: int) -> None:
            async with vault.writing(ANN, "notes") as memory:
                order.append(number)
                async with asyncio.timeout(5), vault.reading(ANN, "notes") as same:
                    assert same is memory
                await asyncio.sleep(0.02)
                nano.write(memory, f"Note {number} is here.", source=str(number))
                order.append(number)

        await asyncio.gather(*(write(number) for number in range(5)))
        assert order == [n for number in range(5) for n in (number, number)]
        await vault.close()
        with vault.store.open("acme/notes", nano) as memory:
            held = [*memory.source_tokens, memory.tail_source]
            assert held == [str(number) for number in range(5)]

    asyncio.run(run())


def test_a_writer_who_waits_too_long_is_told(database: ServerDatabase, nano: MPlus) -> None:
    async def run() -> None:
        vault = made(database, nano, wait_seconds=0.1)
        await vault.create(ANN, "notes")
        async with vault.writing(ANN, "notes"):
            with pytest.raises(MemoryBusyError):
                async with vault.writing(ANN, "notes"):
                    pass
        await vault.close()
        with vault.store.open("acme/notes", nano, write=True), pytest.raises(MemoryBusyError):
            async with vault.writing(ANN, "notes"):
                pass
        async with vault.writing(ANN, "notes"):
            pass
        await vault.close()

    asyncio.run(run())


def test_a_reader_sees_what_another_process_wrote(database: ServerDatabase, nano: MPlus) -> None:
    async def run() -> None:
        vault = made(database, nano)
        await vault.create(ANN, "notes")
        async with vault.reading(ANN, "notes") as before:
            with vault.store.open("acme/notes", nano, write=True) as other:
                nano.write(other, "Anna lives in Oslo.", source="s")
            async with vault.reading(ANN, "notes") as after:
                assert after.tail_source == "s"
            assert not before.tail
            assert not before.closed
        assert before.closed, "the last reader of an older state closes it"
        await vault.close()

    asyncio.run(run())


def test_the_least_recently_used_are_closed(database: ServerDatabase, nano: MPlus) -> None:
    async def run() -> None:
        vault = made(database, nano, open_memories=2)
        for name in "abcd":
            await vault.create(ANN, name)
            async with vault.writing(ANN, name) as memory:
                nano.write(memory, f"{name} is here.", source=name)
        assert vault.opened == 2
        async with AsyncExitStack() as stack:
            for name in "abcd":  # in use, so not closed: twice as many, and no more
                await stack.enter_async_context(vault.reading(ANN, name))
            assert vault.opened == 4
            await vault.create(ANN, "e")
            with pytest.raises(RequestFault) as error:
                await stack.enter_async_context(vault.reading(ANN, "e"))
            assert code(error) == "overloaded"
        async with vault.reading(ANN, "e") as memory:
            assert memory.tokens == 0
        assert vault.opened <= 4
        await vault.close()
        assert vault.opened == 0

    asyncio.run(run())


def test_idle_memories_are_free_for_other_programs(
    database: ServerDatabase, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SWEEP_SECONDS", 0.02)

    async def run() -> None:
        vault = made(database, nano, idle_seconds=0.05)
        vault.start()
        await vault.create(ANN, "notes")
        async with vault.writing(ANN, "notes"):
            await asyncio.sleep(0.2)
            assert vault.opened == 1, "it is in use"
        opened = functools.partial(vault.store.open, "acme/notes", nano, write=True, wait=10)
        with await asyncio.to_thread(opened):
            assert vault.opened == 0
        (one,) = await vault.listed(ANN)
        assert one.used > 0
        await vault.close()

    asyncio.run(run())


def test_what_another_program_deleted_after_its_last_use_leaves_no_name(
    database: ServerDatabase, nano: MPlus
) -> None:
    async def run() -> None:
        vault = made(database, nano)
        for name in ("notes", "kept"):
            await vault.create(ANN, name)
            async with vault.reading(ANN, name):
                pass
        vault.store.delete("acme/notes")
        with database.transaction() as other:
            other.execute("DELETE FROM memories WHERE stored = 'acme/notes'")
        await vault.close()
        rows = database.rows("SELECT stored, used FROM memories")
        assert [one["stored"] for one in rows] == ["acme/kept"]
        assert rows[0]["used"] > 0

    asyncio.run(run())


def test_bounds_on_memories(database: ServerDatabase, nano: MPlus) -> None:
    async def run() -> None:
        vault = made(database, nano, memories_per_tenant=2, memory_bytes=1_000_000)
        await vault.create(ANN, "a", max_bytes=10**12)
        await vault.fork(ANN, "a", "b")
        with pytest.raises(RequestFault) as error:
            await vault.create(ANN, "c")
        assert code(error) == "too_many_memories"
        with pytest.raises(RequestFault) as error:
            await vault.fork(ANN, "a", "c")
        await vault.create(BOB, "c")
        async with vault.reading(ANN, "a") as memory:
            assert memory.max_bytes == 1_000_000
        await vault.close()

    asyncio.run(run())


def test_deleting_lets_readers_end_and_tells_the_others(
    database: ServerDatabase, nano: MPlus
) -> None:
    async def run() -> None:
        vault, gone = made(database, nano), []
        store = vault.store

        def remove(stored: str) -> None:
            store.delete(stored)
            gone.append(stored)

        vault.remove = remove
        await vault.create(ANN, "notes")
        async with vault.reading(ANN, "notes") as memory:
            await vault.delete(ANN, "notes")
            assert not memory.closed
        assert memory.closed
        assert gone == ["acme/notes"]
        assert await vault.listed(ANN) == []
        assert not await vault.exists(ANN, "notes")
        await vault.close()

    asyncio.run(run())
