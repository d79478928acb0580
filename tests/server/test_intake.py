from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from memplus.errors import (
    BudgetError,
    EmptyTextError,
    MemoryBusyError,
    MemoryMismatchError,
    ReadOnlyMemoryError,
    StorageError,
)
from memplus.server import intake as module
from memplus.server.database import ServerDatabase
from memplus.server.faults import RequestFault
from memplus.server.intake import SCHEMA, Entry, Intake


def entries(*texts: str, memory: str = "notes", tenant: str = "acme") -> list[Entry]:
    return [Entry(Intake.new_id(), tenant, memory, "chat", text) for text in texts]


def opened(
    folder: Path, write: Callable[[Entry], Awaitable[None]], patience: float = 5.0
) -> tuple[ServerDatabase, Intake]:
    database = ServerDatabase(folder, SCHEMA)
    return database, Intake(database, write, patience)


def take_in(database: ServerDatabase, found: list[Entry]) -> None:
    with database.transaction() as run:
        Intake.put(run, found)


def test_texts_of_a_memory_are_written_in_their_order(tmp_path: Path) -> None:
    written: list[tuple[str, str]] = []

    async def write(entry: Entry) -> None:
        await asyncio.sleep(0.001)
        written.append((entry.memory, entry.text))

    async def run() -> None:
        database, intake = opened(tmp_path, write)
        take_in(database, entries("1", "2") + entries("a", "b", memory="other"))
        intake.start()
        take_in(database, entries("3"))
        intake.work("acme", "notes")
        await intake.settled("acme/notes")
        await intake.settled("acme/other")
        assert [text for memory, text in written if memory == "notes"] == ["1", "2", "3"]
        assert [text for memory, text in written if memory == "other"] == ["a", "b"]
        assert intake.waiting("acme", "notes") == 0
        await intake.close(1)
        database.close()

    asyncio.run(run())


def test_what_the_disk_refuses_is_tried_again_and_what_nothing_helps_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)
    tries: list[str] = []

    async def write(entry: Entry) -> None:
        tries.append(entry.text)
        if entry.text == "large":
            raise BudgetError(needed=2, given=1)
        if tries.count(entry.text) < 3:
            raise StorageError("disk", reason="full")

    async def run() -> None:
        database, intake = opened(tmp_path, write)
        found = entries("small", "large", "last")
        take_in(database, found)
        intake.start()
        await intake.settled("acme/notes")
        assert tries == ["small"] * 3 + ["large"] + ["last"] * 3 + ["large"]  # there may be room
        assert intake.refused("acme", "notes") == {found[1].id: "BudgetError"}
        assert intake.waiting("acme", "notes") == 0
        intake.drop("acme/notes")
        assert intake.refused("acme", "notes") == {}
        database.close()

    asyncio.run(run())


def test_what_a_server_with_another_model_cannot_write_waits_for_one_with_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TELL_SECONDS", 0.0)
    wrong = True
    written: list[str] = []

    async def write(entry: Entry) -> None:
        if wrong:
            raise MemoryMismatchError(differs="weights")
        written.append(entry.text)

    async def serve() -> None:
        database, intake = opened(tmp_path, write)
        intake.start()
        if wrong:
            with pytest.raises(MemoryMismatchError):  # whoever waits hears it
                await intake.settled("acme/notes")
            assert intake.waiting("acme", "notes") == 2
            assert intake.refused("acme", "notes") == {}
            await intake.close(3600)  # that it may last puts no end off
            assert intake.working == 0
        else:
            await intake.settled("acme/notes")
        database.close()

    database, _ = opened(tmp_path, write)
    take_in(database, entries("a", "b"))
    database.close()
    asyncio.run(serve())
    wrong = False
    asyncio.run(serve())
    assert written == ["a", "b"]


@pytest.mark.parametrize("reason", ["MemoryMismatchError", "BudgetError", "UnknownMemoryError"])
def test_what_was_refused_is_tried_again_at_the_next_start(tmp_path: Path, reason: str) -> None:
    """Also what an earlier release refused for good."""
    written: list[str] = []

    async def write(entry: Entry) -> None:
        written.append(entry.text)

    async def run() -> None:
        database, intake = opened(tmp_path, write)
        take_in(database, entries("a", "b"))
        with database.transaction() as change:
            change.execute("UPDATE intake SET refused = ? WHERE text = 'a'", (reason,))
        intake.start()
        await intake.settled("acme/notes")
        assert written == ["a", "b"]
        assert intake.refused("acme", "notes") == {}
        database.close()

    asyncio.run(run())


def test_what_a_full_memory_refused_is_tried_again_once_there_may_be_room(tmp_path: Path) -> None:
    full = True
    written: list[str] = []

    async def write(entry: Entry) -> None:
        if full and entry.text == "large":
            raise BudgetError(needed=2, given=1)
        if entry.text == "empty":
            raise EmptyTextError()
        written.append(entry.text)

    async def run() -> None:
        nonlocal full
        database, intake = opened(tmp_path, write)
        take_in(database, entries("large", "empty", "small"))
        intake.start()
        await intake.settled("acme/notes")
        assert sorted(intake.refused("acme", "notes").values()) == ["BudgetError", "EmptyTextError"]
        full = False
        take_in(database, entries("more"))
        await intake.settled("acme/notes")
        assert written == ["small", "more", "large"]
        full = True
        take_in(database, entries("large"))
        await intake.settled("acme/notes")
        full = False
        intake.retry("acme/notes")
        await intake.settled("acme/notes")
        assert written == ["small", "more", "large", "large"]
        assert list(intake.refused("acme", "notes").values()) == ["EmptyTextError"]
        database.close()

    asyncio.run(run())


def test_of_many_refused_texts_the_newest_are_named(tmp_path: Path) -> None:
    async def write(entry: Entry) -> None:
        raise BudgetError(needed=2, given=1)

    async def run() -> None:
        database, intake = opened(tmp_path, write)
        found = entries(*map(str, range(20)))
        take_in(database, found)
        await intake.settled("acme/notes")
        assert list(intake.refused("acme", "notes")) == [one.id for one in found[:11:-1]]
        assert intake.more_refused("acme", "notes") == 12
        database.close()

    asyncio.run(run())


def test_what_was_not_done_in_time_waits_for_the_next_start(tmp_path: Path) -> None:
    hold = True

    async def write(entry: Entry) -> None:
        while hold:
            await asyncio.sleep(0.01)
        written.append(entry.text)

    written: list[str] = []

    async def first() -> None:
        database, intake = opened(tmp_path, write, patience=0.05)
        take_in(database, entries("a", "b"))
        intake.start()
        with pytest.raises(RequestFault) as error:
            await intake.settled("acme/notes")
        assert error.value.fault.retry_after
        await intake.close(0.05)
        assert intake.waiting("acme", "notes") == 2
        database.close()

    async def second() -> None:
        database, intake = opened(tmp_path, write)
        intake.start()
        await intake.settled("acme/notes")
        database.close()

    asyncio.run(first())
    assert written == []
    hold = False
    asyncio.run(second())
    assert written == ["a", "b"]


def test_who_waits_for_what_was_said_before_does_not_wait_for_what_comes_meanwhile(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        written: list[str] = []

        async def write(entry: Entry) -> None:
            take_in(database, entries(f"{entry.text}+"))  # the next one is there before this ends
            await asyncio.sleep(0.01)
            written.append(entry.text)

        database, intake = opened(tmp_path, write)
        take_in(database, entries("1", "2"))
        intake.start()
        await intake.settled("acme/notes")
        assert written[:2] == ["1", "2"]
        assert len(written) < 5
        await intake.close(0)
        assert intake.waiting("acme", "notes") > 0
        database.close()

    asyncio.run(run())


def test_a_disk_that_refuses_for_a_while_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the entry is written and only the note of that is refused."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)

    async def run() -> None:
        tries: list[str] = []

        async def write(entry: Entry) -> None:
            tries.append(entry.text)

        database, intake = opened(tmp_path, write)
        refusals = ["1", "2"]
        done = intake.done

        def refused(id: str) -> None:
            if refusals:
                raise StorageError("disk", reason=refusals.pop())
            done(id)

        monkeypatch.setattr(intake, "done", refused)
        take_in(database, entries("a", "b"))
        intake.start()
        await intake.settled("acme/notes")
        assert tries == ["a", "a", "a", "b"]
        await intake.close(1)
        database.close()

    asyncio.run(run())


def test_nothing_is_kept_of_memories_for_which_nothing_waits(tmp_path: Path) -> None:
    async def write(entry: Entry) -> None:
        await asyncio.sleep(0)

    async def run() -> None:
        database, intake = opened(tmp_path, write)
        for number in range(20):
            take_in(database, entries("a", memory=f"m{number}"))
            intake.work("acme", f"m{number}")
            await intake.settled(f"acme/m{number}")
        await intake.close(1)
        assert intake.working == 0
        database.close()

    asyncio.run(run())


def test_a_text_whose_memory_another_process_has_waits_and_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0.01)
    tries: list[str] = []

    async def write(entry: Entry) -> None:
        tries.append(entry.text)
        if len(tries) == 1:
            raise MemoryBusyError("acme/notes")
        if len(tries) == 2:
            raise ReadOnlyMemoryError("acme/notes", reason="it was taken over")

    async def run() -> None:
        database, intake = opened(tmp_path, write)
        take_in(database, entries("a", "b"))
        intake.start()
        await intake.settled("acme/notes")
        assert tries == ["a", "a", "a", "b"]
        assert intake.refused("acme", "notes") == {}
        database.close()

    asyncio.run(run())


def test_two_processes_bring_each_text_once_and_in_order_and_none_that_was_rolled_back(
    tmp_path: Path,
) -> None:
    """The lock stands for the memory's lease; one process looks and then stands still for long."""
    written: list[str] = []
    lease, woken = asyncio.Lock(), asyncio.Event()

    async def run() -> None:
        async def write(entry: Entry, late: bool) -> None:
            if late:
                await woken.wait()
            async with lease:
                await asyncio.sleep(0.001)
                if intake.waits(entry.id):
                    written.append(entry.text)

        database, intake = opened(tmp_path, lambda entry: write(entry, False))
        other, late = opened(tmp_path, lambda entry: write(entry, True))
        take_in(database, entries(*"abcde"))
        late.start()
        await asyncio.sleep(0.05)
        intake.start()
        await intake.settled("acme/notes")
        assert written == list("abcde")
        del written[:]  # rolled back, and with the texts the labels of their commits
        take_in(database, entries("f"))
        woken.set()
        late.work("acme", "notes")
        await asyncio.gather(intake.settled("acme/notes"), late.settled("acme/notes"))
        assert written == ["f"]
        database.close()
        other.close()

    asyncio.run(run())


def test_who_waits_for_a_text_that_cannot_be_brought_is_told_why(tmp_path: Path) -> None:
    async def write(entry: Entry) -> None:
        raise StorageError("disk", reason="full")

    async def run() -> None:
        database, intake = opened(tmp_path, write, patience=60.0)
        take_in(database, entries("a"))
        for _ in range(2):  # it is told those who come later, too
            async with asyncio.timeout(10):
                with pytest.raises(StorageError):
                    await intake.settled("acme/notes")
        assert intake.waiting("acme", "notes") == 1
        await intake.close(0)
        database.close()

    asyncio.run(run())
