from __future__ import annotations

import pytest

from memplus.server.database import ServerDatabase
from memplus.server.kept_answers import KeptAnswers, KeptResponse, Repeat
from memplus.server.kept_conversations import MADE
from memplus.server.principals import Principal

ANN = Principal("acme", "k1")
COLLEAGUE = Principal("acme", "k2")
BOUND = Principal("acme", "k3", memory="else")
STRANGER = Principal("other", "k1")


def response(id: str, memory: str = "notes", previous: str = "") -> KeptResponse:
    return KeptResponse(id, memory, previous, [{"id": f"said-{id}"}], {"id": id})


def put(database: ServerDatabase, *kept: KeptResponse, most: int = 100) -> None:
    with database.transaction() as run:
        for one in kept:
            KeptAnswers.put(run, ANN, one, most)


def test_a_response_is_seen_by_those_who_see_its_memory(database: ServerDatabase) -> None:
    answers = KeptAnswers(database)
    put(database, response("r1"), response("r2", memory=""))
    assert answers.response(ANN, "r1") == response("r1")
    assert answers.response(COLLEAGUE, "r1") == response("r1")
    assert answers.response(BOUND, "r1") is None
    assert answers.response(STRANGER, "r1") is None
    assert answers.response(ANN, "r2") is not None  # without a memory: the same key's alone
    assert answers.response(COLLEAGUE, "r2") is None
    assert not answers.delete(STRANGER, "r1")
    assert not answers.delete(BOUND, "r1")
    assert answers.delete(COLLEAGUE, "r1")
    assert not answers.delete(ANN, "r1")


def test_of_a_response_that_is_deleted_no_file_holds_a_word(database: ServerDatabase) -> None:
    put(database, response("tulips"))
    KeptAnswers(database).delete(ANN, "tulips")
    files = database.path.parent.glob("server.db*")
    assert not any(b"tulips" in file.read_bytes() for file in files)


def test_a_chain_is_followed_as_far_as_it_is_kept(database: ServerDatabase) -> None:
    answers = KeptAnswers(database)
    put(database, response("a"), response("b", previous="a"), response("c", previous="b"))
    last = answers.response(ANN, "c")
    assert last is not None
    assert [one.id for one in answers.chain(ANN, last)] == ["a", "b", "c"]
    answers.delete(ANN, "a")
    assert [one.id for one in answers.chain(ANN, last)] == ["b", "c"]


def test_the_oldest_response_of_the_tenant_goes_where_there_are_too_many(
    database: ServerDatabase,
) -> None:
    answers = KeptAnswers(database)
    put(database, *(response(str(n)) for n in range(5)), most=3)
    kept = [n for n in range(5) if answers.response(ANN, str(n))]
    assert kept == [2, 3, 4]


def test_a_repeat_belongs_to_its_key_and_is_kept_once(database: ServerDatabase) -> None:
    answers = KeptAnswers(database)
    with database.transaction() as run:
        KeptAnswers.put_repeat(run, ANN, "notes", Repeat(b"n", b"d", {"x": 1}), 10)
        KeptAnswers.put_repeat(run, ANN, "notes", Repeat(b"n", b"d", {"x": 2}), 10)
    assert answers.repeated(ANN, b"n") == Repeat(b"n", b"d", {"x": 1})
    assert answers.repeated(COLLEAGUE, b"n") is None
    assert answers.repeated(STRANGER, b"n") is None


def test_what_is_dropped_or_too_old_is_gone(
    database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = KeptAnswers(database)
    monkeypatch.setattr(database.clock, "now", lambda: 100.0)
    put(database, response("a"), response("b", memory="else"))
    with database.transaction() as run:
        KeptAnswers.put_repeat(run, ANN, "notes", Repeat(b"n", b"d", {"x": 1}), 10)
        KeptAnswers.drop(run, "acme", "notes")
    assert answers.response(ANN, "a") is None
    assert answers.repeated(ANN, b"n") is None
    assert answers.response(ANN, "b") is not None
    with database.transaction() as run:
        KeptAnswers.prune(run, before=100.5)
    assert answers.response(ANN, "b") is None


def test_the_last_response_of_a_conversation_that_a_client_named_is_of_its_own_key(
    database: ServerDatabase,
) -> None:
    answers = KeptAnswers(database)
    for who, memory, number in ((ANN, "notes", 1), (COLLEAGUE, "else", 2)):
        for talk in ("main", f"{MADE}main"):
            body = {"conversation": {"id": talk}}
            kept = KeptResponse(f"{talk}-{number}", memory, "", [], body)
            with database.transaction() as run:
                KeptAnswers.put(run, who, kept, 100)
    found = {who.key: answers.last_in(who, "main") for who in (ANN, COLLEAGUE)}
    assert {key: one.id for key, one in found.items() if one} == {"k1": "main-1", "k2": "main-2"}
    made = answers.last_in(ANN, f"{MADE}main")  # what the server named is the tenant's
    assert made is not None
    assert made.id == f"{MADE}main-2"


def answered(id: str, memory: str = "notes") -> KeptResponse:
    return KeptResponse(id, memory, "", [], {"id": id, "output": [{"id": f"msg_{id}"}]})


def test_what_was_said_is_found_by_its_id_by_those_who_see_the_memory(
    database: ServerDatabase,
) -> None:
    answers = KeptAnswers(database)
    put(database, answered("a"), answered("b"), answered("c", memory=""), response("none"))
    ids = ["msg_a", "msg_b", "msg_c", "msg_none", ""]
    assert answers.answered(ANN, ids[1:]) == {id: {"id": id} for id in ("msg_b", "msg_c")}
    assert set(answers.answered(COLLEAGUE, ids)) == {"msg_a", "msg_b"}
    assert answers.answered(BOUND, ids) == answers.answered(STRANGER, ids) == {}


def test_what_was_said_is_found_in_responses_of_an_earlier_release(
    database: ServerDatabase,
) -> None:
    KeptAnswers(database)
    put(database, answered("a"), response("none"))
    with database.transaction() as run:
        run.execute("DROP INDEX responses_by_item")
        run.execute("ALTER TABLE responses DROP COLUMN item")
    assert set(KeptAnswers(database).answered(ANN, ["msg_a"])) == {"msg_a"}
