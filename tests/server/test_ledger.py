from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memplus.errors import StorageError
from memplus.server import intake
from memplus.server import ledger as module
from memplus.server.chains import Place
from memplus.server.database import ServerDatabase
from memplus.server.faults import RequestFault
from memplus.server.kept_answers import KeptResponse, Repeat
from memplus.server.ledger import SCHEMA, Kept, Ledger, NewText, Outcome, Settled
from memplus.server.principals import Principal
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore

ANN = Principal("acme", "k1")
PLACE = Place("acme", "notes")
Turn = tuple[str, str]


def made(database: ServerDatabase, **options: Any) -> Ledger:
    return Ledger(database, replace(ServerSettings(), **options))


def settle(
    ledger: Ledger, turns: list[Turn], place: Place = PLACE, kept: Kept | None = None
) -> list[str]:
    """What of some turns is written: each user's turn is a text of its own."""
    links = ledger.chains.links(place, turns)
    texts = [NewText(text, (link,)) for (role, text), link in zip(turns, links) if role == "user"]
    ids: list[str] = []
    if kept is not None and kept.items:
        ledger.begin_conversation(ANN, kept.conversation, None, {}, [])

    def build(outcome: Outcome) -> Kept:
        ids.extend(outcome.written)
        return kept or Kept({})

    ledger.settle(Settled(ANN, place, tuple(links), texts=tuple(texts)), build)
    return ids


def waiting(database: ServerDatabase) -> list[str]:
    return [row["text"] for row in database.rows("SELECT text FROM intake ORDER BY number")]


# A slow reference: a conversation is known by all that was said up to a turn.
turns = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), st.sampled_from(["a", "b", "c"])), max_size=5
)
conversations = st.lists(st.tuples(st.sampled_from(["", "one", "two"]), turns), max_size=8)


@given(said=conversations)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_each_turn_of_each_branch_is_written_once(
    said: list[tuple[str, list[Turn]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    MemoryStore(folder)
    database = ServerDatabase(folder, module.SCHEMA + intake.SCHEMA)
    ledger, seen, expected = made(database), set(), []
    for name, chat in said:
        for end in range(1, len(chat) + 1):
            said_so_far = (name, *chat[:end])
            if said_so_far not in seen and chat[end - 1][0] == "user":
                expected.append(chat[end - 1][1])
            seen.add(said_so_far)
        settle(ledger, chat, Place("acme", "notes", name))
    assert waiting(database) == expected
    database.close()


def test_two_requests_for_the_same_turn_write_it_once(database: ServerDatabase) -> None:
    ledger = made(database)
    turn = [("user", "The gate is red.")]
    assert len(settle(ledger, turn)) == 1
    assert settle(ledger, turn) == []
    assert waiting(database) == ["The gate is red."]


def test_where_anything_fails_nothing_is_kept(database: ServerDatabase) -> None:
    ledger = made(database)
    links = ledger.chains.links(PLACE, [("user", "a")])

    def build(outcome: Outcome) -> Kept:
        raise StorageError(database.path, reason="full")

    with pytest.raises(StorageError):
        ledger.settle(Settled(ANN, PLACE, tuple(links), texts=(NewText("a", tuple(links)),)), build)
    assert waiting(database) == []
    assert ledger.chains.known(PLACE, links) == {}


def test_a_memory_that_is_gone_leaves_nothing(database: ServerDatabase) -> None:
    ledger, given = made(database), []
    links = tuple(ledger.chains.links(PLACE, [("user", "a")]))
    settled = Settled(ANN, PLACE, links, texts=(NewText("a", links),), present=lambda: False)

    def build(outcome: Outcome) -> Kept:
        given.append(outcome.gone)
        return kept_with("a")

    ledger.settle(settled, build)
    assert given == [True]
    for table in ("turns", "responses", "repeats", "conversations", "items", "intake"):
        assert database.row(f"SELECT count(*) FROM {table}")[0] == 0


def kept_with(text: str) -> Kept:
    response = KeptResponse("r1", "notes", "", [{"text": text}], {"text": text})
    items = ({"id": "i1", "text": text},)
    return Kept({}, response, "conv_1", items, Repeat(b"n", b"d", {"text": text}))


def test_forgetting_takes_every_text_and_knows_the_turns_still(
    database: ServerDatabase, tmp_path: Path
) -> None:
    ledger, secret = made(database), "The PIN is 47114711."
    settle(ledger, [("user", secret)], kept=kept_with(secret))
    with database.transaction() as run:
        run.execute("DELETE FROM intake")  # it was written, and the memory has forgotten it
    assert secret.encode() in b"".join(path.read_bytes() for path in tmp_path.glob("server.db*"))
    assert ledger.forget("acme/notes") == {"responses": 1, "conversation_items": 1}
    assert ledger.answers.response(ANN, "r1") is None
    assert ledger.answers.repeated(ANN, b"n") is None
    assert ledger.conversations.items(ANN, "conv_1") == []
    assert b"47114711" not in b"".join(path.read_bytes() for path in tmp_path.glob("server.db*"))
    assert settle(ledger, [("user", secret)]) == []


def test_a_fork_knows_the_turns_and_has_none_of_the_answers(database: ServerDatabase) -> None:
    ledger = made(database)
    settle(ledger, [("user", "a")], kept=kept_with("a"))
    ledger.fork("acme/notes", "acme/copy")
    assert settle(ledger, [("user", "a")], Place("acme", "copy")) == []
    assert ledger.forget("acme/copy") == {"responses": 0, "conversation_items": 0}


def test_of_a_deleted_memory_nothing_is_kept(database: ServerDatabase) -> None:
    ledger = made(database)
    settle(ledger, [("user", "a")], kept=kept_with("a"))
    settle(ledger, [("user", "a")], Place("acme", "else"))
    ledger.drop("acme/notes")
    for table in ("turns", "responses", "repeats", "conversations", "items"):
        (count,) = database.row(f"SELECT count(*) FROM {table}")
        assert count == (table == "turns")


async def answers(ledger: Ledger, request: dict[str, object], who: Principal = ANN) -> object:
    """What was answered before; nothing: the request is claimed. Or the code of the refusal."""
    try:
        async with ledger.once(who, "k", request) as repeat:
            assert repeat is not None
            return repeat.body
    except RequestFault as error:
        return error.fault.code


def test_a_request_is_answered_once_under_its_key_whichever_server_it_comes_to(
    database: ServerDatabase,
) -> None:
    request, else_ = {"messages": ["a"]}, {"messages": ["b"]}
    with contextlib.closing(ServerDatabase(database.path.parent, SCHEMA)) as second:
        ledger, other = made(database), made(second)

        async def run() -> None:
            async with ledger.once(ANN, "", request) as repeat:
                assert repeat is None
            async with ledger.once(ANN, "k", request) as repeat:
                assert repeat is not None
                assert not repeat.body
                for one in (ledger, other):
                    assert await answers(one, request) == "idempotency_busy"
                    assert await answers(one, else_) == "idempotency_key_reused"
                    assert await answers(one, else_, replace(ANN, key="k2")) == {}
            for one in (other, ledger):  # nothing was kept, so any of them answers it
                assert await answers(one, request) == {}
            async with other.once(ANN, "k", request) as repeat:
                assert repeat is not None
                settle(other, [], kept=Kept({}, repeat=replace(repeat, body={"answer": 1})))
            for one in (ledger, other):
                assert await answers(one, request) == {"answer": 1}
                assert await answers(one, else_) == "idempotency_key_reused"

        asyncio.run(run())
        assert len(locks(database)) == 2
        for one in (ledger, other):
            one.close()
    assert locks(database) == []
    assert database.rows("SELECT * FROM claims") == []


def locks(database: ServerDatabase) -> list[Path]:
    """What tells which servers that have claimed something live."""
    return sorted(database.path.parent.glob("server-*.lock"))


def test_conversations_that_the_server_named_must_be_there(database: ServerDatabase) -> None:
    ledger = made(database)
    assert ledger.pinned(ANN, "") is None
    assert ledger.pinned(ANN, "mine") is None
    with pytest.raises(RequestFault) as error:
        ledger.pinned(ANN, "conv_1")
    assert error.value.fault.code == "conversation_not_found"
    ledger.begin_conversation(ANN, "conv_1", None, {}, [{"id": "a"}])
    assert ledger.pinned(ANN, "conv_1") is None
    settle(ledger, [], kept=Kept({}, conversation="conv_1", items=({"id": "b"},)))
    assert ledger.pinned(ANN, "conv_1") == "notes"
    ledger.add_items(ANN, "conv_1", [{"id": "c"}])
    assert [one["id"] for one in ledger.conversations.items(ANN, "conv_1")] == ["a", "b", "c"]


@pytest.mark.parametrize("id", ["conv_1", "mine"])
def test_a_conversation_that_is_deleted_while_it_is_answered_does_not_come_back(
    database: ServerDatabase, id: str
) -> None:
    ledger = made(database)
    ledger.begin_conversation(ANN, id, None, {}, [{"id": "a"}])

    def build(outcome: Outcome) -> Kept:
        return Kept({}, conversation=id, items=({"id": "b"},))

    ledger.conversations.delete(ANN, id)
    ledger.settle(Settled(ANN, PLACE), build)
    assert ledger.conversations.one(ANN, id) is None
    assert not ledger.add_items(ANN, id, [{"id": "c"}])
    assert database.rows("SELECT * FROM items") == []


def test_what_is_kept_has_bounds(database: ServerDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRUNE_AFTER", 10)
    ledger = made(database, stored_responses=3, known_turns=5)
    for n in range(20):
        response = KeptResponse(str(n), "notes", "", [], {})
        repeat = Repeat(str(n).encode(), b"", {})
        kept = Kept({}, response, f"c{n}", ({"id": str(n)},), repeat)
        settle(ledger, [("user", str(n))], kept=kept)
    counts = [
        database.row(f"SELECT count(*) FROM {table}")[0]
        for table in ("responses", "repeats", "conversations", "items", "turns")
    ]
    assert counts == [3, 3, 3, 3, 5]


def test_what_is_old_goes(database: ServerDatabase) -> None:
    ledger = made(database, response_days=0.0, known_turn_days=0.0)
    settle(ledger, [("user", "a")], kept=kept_with("a"))
    ledger.prune()
    for table in ("turns", "responses", "repeats", "conversations", "items"):
        assert database.row(f"SELECT count(*) FROM {table}")[0] == 0


def test_forgetting_does_not_wait_for_a_reader_of_another_process(database: ServerDatabase) -> None:
    ledger = made(database)
    settle(ledger, [("user", "a")])
    other = sqlite3.connect(database.path)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM turns").fetchone()
    began = time.monotonic()
    ledger.forget("acme/notes")
    assert time.monotonic() - began < 5
    other.close()
    ledger.forget("acme/notes")
    assert Path(f"{database.path}-wal").stat().st_size == 0
