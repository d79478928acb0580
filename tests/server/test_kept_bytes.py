from __future__ import annotations

import json
import sqlite3

import pytest

from memplus.server.beside import SCHEMA
from memplus.server.database import ServerDatabase
from memplus.server.kept_answers import KeptAnswers, KeptResponse, Repeat
from memplus.server.kept_bytes import keep_newest, kept_bytes
from memplus.server.kept_conversations import KeptConversations
from memplus.server.principals import Principal

ANN, STRANGER = Principal("acme", "k1"), Principal("other", "k1")


def response(id: str, text: str) -> KeptResponse:
    return KeptResponse(id, "notes", "", [{"text": text}], {"id": id})


def counted(database: ServerDatabase, kind: str, tenant: str = "acme") -> int:
    with database.transaction() as run:
        found = kept_bytes(run, kind, tenant)
    columns = {"responses": "said || body", "repeats": "body", "items": "body"}[kind]
    query = f"SELECT coalesce(sum(length({columns})), 0) FROM {kind} WHERE tenant = ?"
    assert found == database.row(query, (tenant,))[0]
    return found


def test_the_bytes_of_a_tenant_follow_whatever_is_added_and_removed(
    database: ServerDatabase,
) -> None:
    answers, talks = KeptAnswers(database), KeptConversations(database)
    assert counted(database, "responses") == 0
    with database.transaction() as run:
        for who in (ANN, STRANGER):
            for n in range(3):
                KeptAnswers.put(run, who, response(f"{who.tenant}{n}", "caf\u00e9 " * n), 10)
            repeat = Repeat(b"name", b"", {"text": "again"})
            KeptAnswers.put_repeat(run, who, "notes", repeat, 10)
            KeptAnswers.put_repeat(run, who, "notes", repeat, 10)  # it is known already
            KeptConversations.begin(run, who, "conv_1", "notes", {}, 10)
            KeptConversations.add(run, who, "conv_1", [{"id": f"i{n}"} for n in range(4)])
    for kind in ("responses", "repeats", "items"):
        assert counted(database, kind) > 0
    before = counted(database, "responses")
    answers.delete(ANN, "acme1")
    talks.delete_item(ANN, "conv_1", "i2")
    assert 0 < counted(database, "responses") < before
    assert counted(database, "items") == 3 * len(json.dumps({"id": "i0"}))
    talks.delete(ANN, "conv_1")
    assert counted(database, "items") == 0
    with database.transaction() as run:
        KeptAnswers.drop(run, "acme", "notes")
    assert counted(database, "responses") == counted(database, "repeats") == 0
    assert counted(database, "responses", "other") > before


def test_what_an_earlier_release_kept_is_counted(database: ServerDatabase) -> None:
    with database.transaction() as run:
        KeptAnswers.put(run, ANN, response("r1", "red"), 10)
    with sqlite3.connect(database.path) as other:
        other.execute("DROP TABLE kept_bytes")
        for name in ("responses_kept", "responses_gone"):
            other.execute(f"DROP TRIGGER {name}")
    again = ServerDatabase(database.path.parent, SCHEMA)
    assert counted(again, "responses") > 0
    with again.transaction() as run:
        KeptAnswers.put(run, ANN, response("r2", "blue"), 10)
    counted(again, "responses")
    again.close()


@pytest.mark.parametrize("kind", ["responses", "repeats"])
def test_the_oldest_go_where_all_together_are_too_large(
    database: ServerDatabase, kind: str
) -> None:
    with database.transaction() as run:
        for who, most_bytes in ((STRANGER, 0), (ANN, 2500)):
            for n in range(5):
                if kind == "responses":
                    one = response(f"{who.tenant}{n}", "x" * 1000)
                    KeptAnswers.put(run, who, one, 100, most_bytes)
                else:
                    again = Repeat(str(n).encode(), b"", {"text": "x" * 1000})
                    KeptAnswers.put_repeat(run, who, "notes", again, 100, most_bytes)
    assert counted(database, kind) <= 2500
    query = f"SELECT count(*) FROM {kind} WHERE tenant = ?"
    assert [database.row(query, (one,))[0] for one in ("acme", "other")] == [2, 5]
    newest = database.rows(f"SELECT body FROM {kind} WHERE tenant = 'acme' ORDER BY number")
    if kind == "responses":
        assert [json.loads(row["body"])["id"] for row in newest] == ["acme3", "acme4"]


def test_one_that_is_too_large_alone_is_not_kept(database: ServerDatabase) -> None:
    with database.transaction() as run:
        KeptAnswers.put(run, ANN, response("r1", "x" * 1000), 10, 500)
        keep_newest(run, "responses", "acme", 10, 500)
    assert counted(database, "responses") == 0
