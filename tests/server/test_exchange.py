from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.sessions.chatml import chatml

from memplus.errors import PassFailedError, StorageError
from memplus.mplus.model import MPlus
from memplus.server.actions import forgetting, memories
from memplus.server.engine.requests import Finished, Piece, ReadRequest
from memplus.server.exchange import Ask, Ended, Exchange
from memplus.server.faults import RequestFault
from memplus.server.intake import Entry
from memplus.server.kept_answers import KeptResponse, Repeat
from memplus.server.ledger import Kept
from memplus.server.principals import Principal
from memplus.server.prompts import Message
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.server.wire.memories import ForgetRequest, RollbackRequest
from memplus.store import MemoryStore

WHO = Principal()
GATE = Message("user", "The gate is red.")
ASKED = Message("user", "What colour is the gate?")


@asynccontextmanager
async def running(folder: Path, model: MPlus, **settings: Any) -> AsyncIterator[Services]:
    """The parts of a server, without its application."""
    bounds = replace(ServerSettings(), **settings)
    services = Services(MemoryStore(folder), lambda: model, bounds, model_name="nano")
    async with services.running():
        while services.state == "loading":
            await asyncio.sleep(0.01)
        yield services


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def ask(*messages: Message, **fields: Any) -> Ask:
    return Ask(**{"who": WHO, "memory": "notes", "messages": messages} | fields)


def kept(ended: Ended) -> Kept:
    return Kept({"text": ended.text, "memory": ended.memory})


async def answered(services: Services, asked: Ask) -> dict[str, Any]:
    items = [item async for item in Exchange(services, asked, kept).run()]
    last = items[-1]
    assert isinstance(last, Kept)
    return last.body


async def held(services: Services, name: str = "notes") -> str:
    await services.intake.settled(name)
    if name not in services.store:
        return ""
    with services.store.open(name, services.model) as memory:
        return "".join(one.text for one in memory.texts().values()) + memory.tail_text


class Broken:
    """An engine that says something and then fails, or goes on for ever."""

    def __init__(self, then: Callable[[], Any]) -> None:
        self.then = then
        self.closed = False

    async def read(self, request: ReadRequest) -> AsyncIterator[Piece | Finished]:
        try:
            yield Piece("half an ")
            await asyncio.sleep(0)
            await self.then()
            yield Piece("answer")
            yield Finished("stop", 1, 1)
        finally:
            self.closed = True


async def fail() -> None:
    raise PassFailedError(reason="no reason")


def test_a_failed_answer_writes_nothing_and_makes_no_memory(tmp_path: Path, nano: MPlus) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            engine, broken = services._engine, Broken(fail)
            services._engine = broken  # type: ignore[assignment]
            with pytest.raises(PassFailedError):
                await answered(services, ask(ASKED))
            services._engine = engine
            assert broken.closed
            assert "notes" not in services.store
            # What was not kept is new to the next request.
            assert len((await answered(services, ask(GATE, ASKED)))["memory"]["written"]) == 2

    run(work())


def test_an_answer_that_nobody_waits_for_is_given_up_and_writes_nothing(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            await answered(services, ask(GATE))
            await held(services)
            engine, broken = services._engine, Broken(lambda: asyncio.sleep(60))
            services._engine = broken  # type: ignore[assignment]
            items = Exchange(services, ask(ASKED), kept).run()
            assert await anext(items) == Piece("half an ")
            await items.aclose()
            services._engine = engine
            assert broken.closed
            assert await held(services) == " The gate is red."

    run(work())


def test_what_was_said_is_on_the_disk_before_the_answer_ends(tmp_path: Path, nano: MPlus) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            seen = []

            def build(ended: Ended) -> Kept:
                seen.append(ended.memory)
                return kept(ended)

            items = Exchange(services, ask(GATE), build).run()
            assert await anext(items) == Piece("Noted.")
            assert not seen
            last = await anext(items)
            assert isinstance(last, Kept)
            again = Services(
                services.store, lambda: nano, services.settings, model_name="nano"
            )  # as after a crash at this moment
            rows = again.database.rows("SELECT id FROM intake")
            done = [row["id"] for row in rows] == seen[0]["written"]
            again.database.close()
            assert done or await held(services) == " The gate is red."
            await items.aclose()

    run(work())


def test_where_the_disk_refuses_the_answer_fails_and_nothing_is_kept(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            await answered(services, ask(GATE))

            def refuse(*_: object) -> None:
                raise StorageError(tmp_path, reason="it is full")

            with monkeypatch.context() as patch:
                patch.setattr("memplus.server.ledger.Intake.put", refuse)
                with pytest.raises(StorageError):
                    await answered(services, ask(ASKED))
            assert await held(services) == " The gate is red."
            assert len((await answered(services, ask(ASKED)))["memory"]["written"]) == 1

    run(work())


def test_a_memory_that_is_deleted_meanwhile_does_not_come_back(tmp_path: Path, nano: MPlus) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            await answered(services, ask(GATE))
            await held(services)
            engine = services._engine
            services._engine = Broken(lambda: asyncio.sleep(0))  # type: ignore[assignment]
            exchange = Exchange(services, ask(ASKED), kept)
            items = exchange.run()
            await anext(items)
            settle, ready = exchange._settled, asyncio.Event()

            async def late(*args: Any) -> Kept:
                await ready.wait()
                return await settle(*args)

            exchange._settled = late  # type: ignore[method-assign]
            ending = asyncio.create_task(_last(items))
            await services.vault.delete(WHO, "notes")
            ready.set()
            memory = (await ending).body["memory"]
            services._engine = engine
            assert memory["written"] == []
            assert not memory["durable"]
            assert memory["refused"] == {"now": "memory_not_found"}
            assert "notes" not in services.store
            assert len((await answered(services, ask(GATE)))["memory"]["written"]) == 1

    run(work())


async def _last(items: AsyncIterator[Piece | Kept]) -> Kept:
    found = [item async for item in items][-1]
    assert isinstance(found, Kept)
    return found


def test_two_first_requests_make_one_memory_and_write_the_turn_once(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            found = await asyncio.gather(*(answered(services, ask(GATE)) for _ in range(4)))
            assert sorted(len(one["memory"]["written"]) for one in found) == [0, 0, 0, 1]
            assert await held(services) == " The gate is red."

    run(work())


def test_a_tenant_with_as_many_memories_as_it_may_have_is_told_before_the_answer(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano, memories_per_tenant=1) as services:
            await answered(services, ask(GATE))
            with pytest.raises(RequestFault) as error:
                await anext(Exchange(services, ask(GATE, memory="second"), kept).run())
            assert error.value.fault.code == "too_many_memories"

    run(work())


LONG = Message("user", "The gate is red. " * 40)
NOTED = Message("assistant", "Noted.")


def test_a_turn_that_a_full_memory_has_no_room_for_is_told_of_and_not_taken_in(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            await services.vault.create(WHO, "notes", max_bytes=1)
            for _ in range(3):
                said = (await answered(services, ask(LONG)))["memory"]
                assert (said["written"], said["durable"]) == ([], False)
                assert said["refused"] == {"now": "memory_full"}
            assert services.database.rows("SELECT * FROM intake") == []
            assert services.database.rows("SELECT * FROM turns") == []
            # A text that fits the tail makes nothing larger.
            said = (await answered(services, ask(GATE)))["memory"]
            assert (len(said["written"]), said["durable"]) == (1, True)
            # Once there is room, a client that sends its history again has all of it written.
            async with services.vault.writing(WHO, "notes") as memory:
                memory.limit(None)
                said = (await answered(services, ask(LONG, NOTED, ASKED)))["memory"]
            assert (len(said["written"]), said["durable"]) == (2, True)
            assert LONG.text.strip() in await held(services)

    run(work())


def test_a_new_memory_may_be_full_with_its_first_turn(tmp_path: Path, nano: MPlus) -> None:
    async def work() -> None:
        async with running(tmp_path, nano, memory_bytes=1) as services:
            said = (await answered(services, ask(LONG)))["memory"]
            assert (said["written"], said["durable"]) == ([], False)
            assert said["refused"] == {"now": "memory_full"}

    run(work())


def test_turns_that_wait_take_the_room_that_there_is(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            await services.vault.create(WHO, "notes", max_bytes=1)
            small = [Message("user", f"Gate {number} is red.") for number in range(40)]
            monkeypatch.setattr(services.intake, "work", lambda *_: None)  # all of them wait
            monkeypatch.setattr(services.vault, "settled", lambda _: asyncio.sleep(0))
            told = [(await answered(services, ask(one)))["memory"] for one in small]
            durable = [one["durable"] for one in told]
            assert durable[0]
            assert not durable[-1]
            assert told[-1]["refused"] == {"now": "memory_full"}
            monkeypatch.undo()
            await services.intake.settled("notes")
            assert services.intake.refused("", "notes") == {}

    run(work())


def test_a_turn_that_its_memory_could_not_take_is_not_durable_and_is_read_as_text(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            await services.vault.create(WHO, "notes", max_bytes=1)
            with monkeypatch.context() as patch:  # others have filled it meanwhile
                patch.setattr("memplus.server.exchange.has_room", lambda *_: True)
                (written,) = (await answered(services, ask(LONG)))["memory"]["written"]
            await services.intake.settled("notes")
            said = (await answered(services, ask(LONG, NOTED, ASKED)))["memory"]
            assert said["refused"] == {written: "BudgetError"}
            assert (len(said["written"]), said["durable"]) == (1, False)
            assert "left_out" not in said
            async with services.vault.writing(WHO, "notes") as memory:
                memory.limit(None)
                # It is tried again once the memory has taken something, and not written twice.
                await answered(services, ask(LONG, NOTED, ASKED, NOTED, GATE))
            assert (await held(services)).count(LONG.text.strip()) == 1
            said = (await answered(services, ask(LONG, NOTED, ASKED, NOTED, GATE)))["memory"]
            assert (said["written"], said["durable"]) == ([], True)
            assert "refused" not in said

    run(work())


def test_of_many_refused_texts_the_newest_are_told_and_the_others_counted(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            await services.vault.create(WHO, "notes", max_bytes=1)
            texts = [Entry(f"id{n}", "", "notes", "chat", LONG.text) for n in range(20)]
            with services.database.transaction() as run:
                services.intake.put(run, texts)
            await services.intake.settled("notes")
            said = (await answered(services, ask(LONG)))["memory"]
            newest = {f"id{n}": "BudgetError" for n in range(12, 20)}
            assert said["refused"] == newest | {"now": "memory_full"}
            assert said["more_refused"] == 12
            shown = await memories.describe(services, WHO, "notes")
            assert {one.id for one in shown.texts_refused} == set(newest)
            assert shown.more_texts_refused == 12

    run(work())


async def meanwhile(
    services: Services, asked: Ask, then: Callable[[], Any], build: Callable[[Ended], Kept] = kept
) -> dict[str, Any]:
    """An answer of 'half an answer', in the middle of which something else happens."""
    await services.intake.settled("notes")
    engine = services._engine
    assert engine is not None

    async def happen() -> None:
        services._engine = engine
        await then()

    services._engine = Broken(happen)  # type: ignore[assignment]
    exchange = Exchange(services, asked, build)
    last = await _last(exchange.run())
    return last.body


def all_kept(ended: Ended) -> Kept:
    body = {"text": ended.text, "memory": ended.memory}
    response = KeptResponse("r1", "notes", "", [], body)
    return Kept(body, response, "c1", ({"id": "i1"},), Repeat(b"n", b"d", body))


@pytest.mark.parametrize("replies", [False, True])
def test_an_answer_during_which_its_memory_forgets_is_not_kept(
    tmp_path: Path, nano: MPlus, *, replies: bool
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano, write_replies=replies) as services:
            await answered(services, ask(GATE))

            services.ledger.begin_conversation(WHO, "c1", None, {}, [])

            async def forget() -> None:
                asked = ForgetRequest(source="chat")
                await forgetting.forget(services, WHO, "notes", asked)

            history = (GATE, Message("assistant", "Noted."), ASKED)
            said = (await meanwhile(services, ask(*history), forget, all_kept))["memory"]
            assert said["forgotten"] is True
            assert said["durable"] is True
            assert len(said["written"]) == 1
            # The user's own turn is there; what was answered to it, and what is gone, is not.
            assert await held(services) == " What colour is the gate?\n"
            ledger = services.ledger
            assert ledger.answers.response(WHO, "r1") is None
            assert ledger.answers.repeated(WHO, b"n") is None
            assert ledger.conversations.items(WHO, "c1") == []
            # What comes after it is kept as ever.
            later = Message("user", "Is it red?")
            said = (await answered(services, ask(*history, later)))["memory"]
            assert "forgotten" not in said
            assert len(said["written"]) == 1

    run(work())


def test_an_answer_during_which_its_memory_is_made_anew_is_not_kept(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            await answered(services, ask(GATE))

            exchange = Exchange(services, ask(ASKED), all_kept)
            settle = exchange._settled

            async def renewed(*args: Any) -> Kept:
                await services.vault.delete(WHO, "notes")
                await services.vault.create(WHO, "notes")
                return await settle(*args)

            exchange._settled = renewed  # type: ignore[method-assign]
            said = (await _last(exchange.run())).body["memory"]
            assert said["forgotten"] is True
            assert services.ledger.answers.response(WHO, "r1") is None

    run(work())


def test_turns_that_are_rolled_back_are_written_when_they_come_again(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            noted, long = Message("assistant", "Noted."), Message("user", "The gate is red. " * 20)
            first = (long, noted)
            second = (*first, Message("user", "The hut is blue. " * 20), noted)
            third = (*second, Message("user", "Ann has a boat."))
            for history in (first[:1], second[:3]):
                assert len((await answered(services, ask(*history)))["memory"]["written"]) == 1
            await services.intake.settled("notes")
            commits = await services.vault.history(WHO, "notes")
            whole = await held(services)
            before = RollbackRequest(commit=commits[-2].number)
            await memories.roll_back(services, WHO, "notes", before)
            assert "hut" not in await held(services)
            # The first is there still, the second is not any more, the third never was.
            said = (await answered(services, ask(*third)))["memory"]
            assert len(said["written"]) == 2
            assert await held(services) == f"{whole} Ann has a boat."
            assert (await answered(services, ask(*third)))["memory"]["written"] == []

    run(work())


def test_turns_that_another_program_rolled_back_are_written_too(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            long = Message("user", "The gate is red. " * 20)
            await answered(services, ask(long))
            await services.intake.settled("notes")
            await services.vault._open.drop("notes")
            MemoryStore(tmp_path).rollback("notes", 0)
            said = await answered(services, ask(long, Message("assistant", "Noted."), ASKED))
            assert len(said["memory"]["written"]) == 2

    run(work())


def test_refused_and_forgotten_turns_are_not_written_when_they_come_again(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            await services.vault.create(WHO, "notes", max_bytes=1)
            with monkeypatch.context() as patch:
                patch.setattr("memplus.server.exchange.has_room", lambda *_: True)
                await answered(services, ask(LONG))
            await services.intake.settled("notes")
            assert (await answered(services, ask(LONG)))["memory"]["written"] == []
            services.intake.forget("notes", None, "GATE")
            assert services.intake.refused("", "notes") == {}
            said = (await answered(services, ask(LONG)))["memory"]
            assert (said["written"], said["durable"]) == ([], True)

    run(work())


UNCLEAR = Message("user", "The gate, red.")


class Saying:
    """An engine that says what it is told to, a letter at a time."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def read(self, request: ReadRequest) -> AsyncIterator[Piece | Finished]:
        for letter in self.text:
            yield Piece(letter)
        yield Finished("stop", 1, len(self.text))


@pytest.mark.parametrize(
    ("said", "message", "expected"),
    [
        ("I have no note of that.", UNCLEAR, ["Noted."]),
        ("I have no note", UNCLEAR, list("I have no note")),
        ("I see.", UNCLEAR, ["I", " ", "s", "e", "e", "."]),
        ("I have no note of that.", ASKED, list("I have no note of that.")),
        ("", UNCLEAR, []),
        ("blue", GATE, ["Noted."]),  # what plainly tells something is no question at all
    ],
)
def test_a_refusal_is_not_what_a_statement_gets(
    tmp_path: Path, said: str, message: Message, expected: list[str]
) -> None:
    async def work() -> None:
        async with running(tmp_path, chatml()) as services:
            engine, services._engine = services._engine, Saying(said)  # type: ignore[assignment]
            items = [item async for item in Exchange(services, ask(message), kept).run()]
            services._engine = engine
            pieces = [item.text for item in items if isinstance(item, Piece)]
            assert "".join(pieces) == "".join(expected)
            assert pieces[-1:] == expected[-1:]

    run(work())


def test_the_longest_answer_fits_the_model(tmp_path: Path) -> None:
    async def work() -> None:
        model = chatml()
        async with running(tmp_path, model) as services:
            room = model.positions - model.core.prefix_length(model.new_memory())
            asked = ask(Message("user", "Why? " * 20), max_new_tokens=10_000)
            exchange = Exchange(services, asked, kept)
            prompt = exchange._prompt(await exchange._planned())
            request = exchange._request(model.new_memory(), prompt)
            assert request.sampling.max_new_tokens == room - len(prompt.ids)

    run(work())


def test_a_plain_model_needs_the_scope_to_read(tmp_path: Path, nano: MPlus) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            who = Principal(scopes=frozenset())
            with pytest.raises(RequestFault) as error:
                await answered(services, ask(ASKED, memory=None, who=who))
            assert error.value.fault.code == "forbidden"

    run(work())


@pytest.mark.long
def test_many_more_memories_than_may_be_open_take_writes_reads_and_deletions_at_once(
    tmp_path: Path, nano: MPlus
) -> None:
    names = [f"m{number}" for number in range(10)]
    told: dict[str, list[str]] = {name: [] for name in names}

    async def use(services: Services, name: str, seed: int) -> None:
        for turn in range(4):
            text = f"Shelf {seed} of {turn} is full."
            asked = ask(Message("user", text), memory=name, conversation=f"c{seed}-{turn}")
            assert (await answered(services, asked))["memory"]["durable"]
            told[name].append(text)
            async with services.vault.reading(WHO, name) as memory:
                await asyncio.sleep(0.001 * (seed % 3))
                held = "".join(one.text for one in memory.texts().values()) + memory.tail_text
                assert text in held

    async def come_and_go(services: Services) -> None:
        for turn in range(5):
            asked = ask(GATE, memory="passing", conversation=str(turn))
            await answered(services, asked)
            await services.vault.delete(WHO, "passing")
            assert not await services.vault.exists(WHO, "passing")

    async def forget(services: Services) -> None:
        for turn in range(4):
            name = f"forgetting{turn % 2}"
            await answered(services, ask(GATE, memory=name, conversation=str(turn)))
            asked = ForgetRequest(match="gate")
            reading = services.vault.reading(WHO, name)
            async with reading:
                ended = asyncio.create_task(forgetting.forget(services, WHO, name, asked))
                await asyncio.sleep(0.002)
            assert (await ended).tail_tokens

    async def work() -> None:
        async with running(tmp_path, nano, open_memories=3) as services:
            users = [use(services, name, seed) for seed in (1, 2) for name in names]
            opens: list[int] = []

            async def watch() -> None:
                while True:
                    opens.append(services.vault.opened)
                    await asyncio.sleep(0.005)

            watching = asyncio.create_task(watch())
            waves = [users[at : at + 4] for at in range(0, len(users), 4)]
            await asyncio.gather(come_and_go(services), forget(services), *waves[0])
            for wave in waves[1:]:
                await asyncio.gather(*wave)
            watching.cancel()
            assert max(opens) <= 6  # twice as many, where all are in use
            for name in names:
                found = await held(services, name)
                assert all(found.count(text) == told[name].count(text) for text in told[name])

    run(work())
