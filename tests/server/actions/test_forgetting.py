from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.server.serving import Served
from tests.server.speaking import ANSWER, FACT, QUESTION, ask, failure, note, texts, write

from memplus.server.intake import Entry, Intake


def test_forgetting_says_first_what_it_would_do_and_then_does_it(client: httpx.Client) -> None:
    write(client, source="facts", flush=True)
    write(client, text=note(2), source="other", flush=True)
    said = client.post("/v1/memories/ann/forget", json={"source": "facts", "dry_run": True}).json()
    (gone,) = said["writes"]
    assert (said["dry_run"], said["count"], said["rows"]) == (True, 1, None)
    assert (gone["id"], gone["source"], gone["text"]) == (1, "facts", FACT)
    assert ask(client)["answer"] == ANSWER
    done = client.post("/v1/memories/ann/forget", json={"source": "facts"}).json()
    assert (done["dry_run"], done["count"], done["tokens"]) == (False, 1, said["tokens"])
    assert done["rows"] > 0
    assert done["writes"][0]["text"] is None
    assert ask(client)["answer"] != ANSWER
    assert FACT not in "".join(texts(client))


@pytest.mark.parametrize(
    "named", [{"match": "LOCKER code"}, {"write": 1}, {"write": [1]}, {"source": "facts"}]
)
def test_one_text_is_forgotten_by_words_number_or_source(
    client: httpx.Client, named: dict[str, Any]
) -> None:
    write(client, source="facts", flush=True)
    write(client, text=note(2), source="other", flush=True)
    done = client.post("/v1/memories/ann/forget", json=named).json()
    assert [one["id"] for one in done["writes"]] == [1]
    assert "".join(texts(client)) == note(2)


@pytest.mark.parametrize(
    ("named", "status", "code"),
    [
        ({}, 400, "invalid"),
        ({"source": "nothing"}, 404, "source_not_found"),
        ({"write": 99}, 400, "invalid"),
        ({"write": []}, 400, "invalid"),
        ({"match": "never said"}, 400, "invalid"),
        ({"match": ""}, 400, "invalid"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_what_is_not_there_cannot_be_forgotten(
    client: httpx.Client, named: dict[str, Any], status: int, code: str, dry: bool
) -> None:
    write(client, source="facts")
    answer = client.post("/v1/memories/ann/forget", json={**named, "dry_run": dry})
    assert failure(answer, status) == code
    assert texts(client) == [FACT]


def test_forgetting_tells_in_which_forks_the_text_remains(keyed: Served) -> None:
    tenant = f"f{len(keyed.services.keys.all())}"
    with keyed.client(keyed.key(tenant)) as client:
        write(client, flush=True)
        for fork in ("fork", "hidden"):
            client.post("/v1/memories/ann/fork", json={"id": fork})
        write(client, "apart", flush=True)  # the same words, said on their own
        everything = client.post("/v1/memories/ann/forget", json={"write": 1, "dry_run": True})
        assert everything.json()["remains_in"] == ["fork", "hidden"]
        assert everything.json()["all_checked"] is True
        with keyed.client(keyed.key(tenant, memory="a*")) as bound:
            done = bound.post("/v1/memories/ann/forget", json={"write": 1}).json()
            assert (done["remains_in"], done["remains_elsewhere"]) == ([], True)
        done = client.post("/v1/memories/fork/forget", json={"write": 1}).json()
        assert (done["remains_in"], done["remains_elsewhere"]) == (["hidden"], False)


def test_what_was_forgotten_is_nowhere_in_the_servers_own_database(
    keyed: Served, client: httpx.Client
) -> None:
    key = {"Idempotency-Key": "k"}
    write(client, source="facts", flush=True, metadata={"secret": "tulip"}, headers=key)
    write(client, text=note(2), source="facts", flush=True, metadata={"kept": "rose"})
    client.post("/v1/memories/ann/forget", json={"match": "locker"})
    rows = keyed.services.database.rows("SELECT * FROM calls")
    kept = "".join(str(tuple(row)) for row in rows)
    assert "tulip" not in kept
    assert "rose" in kept
    assert texts(client) == [note(2)] or "".join(texts(client)) == note(2)


def test_rebuilding_leaves_the_memory_that_never_heard_it(client: httpx.Client) -> None:
    write(client, source="facts", flush=True, metadata={"of": "fact"})
    write(client, text=note(2), source="facts", flush=True, metadata={"of": "note"})
    asked = {"match": "locker", "rebuild": True}
    assert client.post("/v1/memories/ann/forget", json=asked).json()["count"] == 1
    page = client.get("/v1/memories/ann/writes").json()["data"]
    assert "".join(one["text"] for one in page) == note(2)
    assert page[0]["id"] == 1
    assert all(one["metadata"] == {"of": "note"} for one in page)


def test_a_call_that_comes_again_after_rebuilding_names_no_write_of_another(
    client: httpx.Client,
) -> None:
    key = {"Idempotency-Key": "k"}
    write(client, source="facts", flush=True)
    first = write(client, text=note(2), source="notes", flush=True, headers=key)
    write(client, text=note(3), source="more", flush=True)
    assert first["writes"][0] > 1
    asked = {"match": "locker", "rebuild": True}
    assert client.post("/v1/memories/ann/forget", json=asked).is_success
    page = client.get("/v1/memories/ann/writes").json()["data"]
    assert "more" in {one["source"] for one in page if one["id"] in first["writes"]}
    again = write(client, text=note(2), source="notes", flush=True, headers=key)
    assert (again["repeated"], again["writes"]) == (True, [])


def test_answers_that_are_kept_go_when_the_memory_forgets_not_when_it_is_asked_what_would_go(
    client: httpx.Client,
) -> None:
    write(client, source="facts")
    asked = {"model": "nano", "memory": "ann", "input": QUESTION}
    kept = client.post("/v1/responses", json=asked).json()["id"]
    named = {"match": "locker"}
    would = client.post("/v1/memories/ann/forget", json={**named, "dry_run": True}).json()
    assert would["also_removed"] == {"responses": 1}
    assert client.get(f"/v1/responses/{kept}").is_success
    done = client.post("/v1/memories/ann/forget", json=named).json()
    assert done["also_removed"] == {"responses": 1}
    assert failure(client.get(f"/v1/responses/{kept}"), 404) == "response_not_found"


def test_what_only_a_conversation_or_a_response_holds_is_forgotten(
    client: httpx.Client, keyed: Served
) -> None:
    """A conversation's items wait until it goes on: the memory holds nothing of them yet."""
    write(client, source="facts", flush=True)
    secret = {"type": "message", "role": "user", "content": "The tulips cost 929470."}
    begun = {"memory": "ann", "items": [secret], "metadata": {"about": "929470"}}
    talk = client.post("/v1/conversations", json=begun).json()["id"]
    _, key = keyed.services.keys.add("reader", tenant=_tenant(keyed), scopes=("read",))
    asked = {"model": "nano", "memory": "ann", "input": [secret]}
    reader = {"Authorization": f"Bearer {key}"}
    response = client.post("/v1/responses", json=asked, headers=reader).json()["id"]
    named = {"match": "929470"}
    would = client.post("/v1/memories/ann/forget", json={**named, "dry_run": True}).json()
    gone = {"responses": 1, "conversation_items": 1}
    assert (would["count"], would["also_removed"]) == (0, gone)
    done = client.post("/v1/memories/ann/forget", json=named).json()
    assert (done["count"], done["also_removed"]) == (0, gone)
    assert client.get(f"/v1/conversations/{talk}/items").json()["data"] == []
    assert client.get(f"/v1/conversations/{talk}").json()["metadata"] == {}
    assert failure(client.get(f"/v1/responses/{response}"), 404) == "response_not_found"
    client.post("/v1/responses", json={"model": "nano", "conversation": talk, "input": QUESTION})
    assert "929470" not in "".join(texts(client))
    assert failure(client.post("/v1/memories/ann/forget", json=named), 400)


def _tenant(keyed: Served) -> str:
    """Whose key was made last: the client's."""
    return keyed.services.keys.all()[-1].tenant


def _shown(client: httpx.Client) -> dict[str, str]:
    """The metadata of each text."""
    page = client.get("/v1/memories/ann/writes?limit=100").json()["data"]
    return {one["text"]: one["metadata"].get("n", "") for one in page}


def _told(client: httpx.Client, count: int) -> dict[str, str]:
    """Write so many texts of one source, each with its metadata."""
    found = {f"Shelf {number} holds box {number * 13}.": str(number) for number in range(count)}
    for text, number in found.items():
        write(client, text=text, source="facts", flush=True, metadata={"n": number})
    return found


def test_metadata_stay_with_their_texts_when_gaps_of_before_are_closed(
    client: httpx.Client,
) -> None:
    told = _told(client, 5)
    write(client, text="The sky is wide.", source="other", flush=True)
    client.post("/v1/memories/ann/forget", json={"write": [1, 3]})
    client.post("/v1/memories/ann/forget", json={"source": "other", "rebuild": True})
    left = {text: number for text, number in told.items() if number in "134"}
    assert _shown(client) == left
    write(client, text="A box is full.", source="facts", flush=True, metadata={"n": "9"})
    left["A box is full."] = "9"
    assert _shown(client) == left
    client.post("/v1/memories/ann/forget", json={"write": 3, "rebuild": True})
    assert _shown(client) == {text: number for text, number in left.items() if number != "4"}


def test_what_is_forgotten_in_steps_leaves_no_note_of_a_call(
    keyed: Served, client: httpx.Client
) -> None:
    text = "".join(note(number) for number in range(30))
    written = write(client, text=text, source="facts", flush=True, metadata={"n": "1"})
    assert len(written["writes"]) > 1
    for one in written["writes"]:
        client.post("/v1/memories/ann/forget", json={"write": one})
    assert keyed.services.calls.ids(f"{_tenant(keyed)}/ann") == []


@pytest.mark.parametrize("named", [{"source": "lost"}, {"match": "TULIPS"}])
def test_a_text_that_the_memory_refused_is_forgotten_though_it_holds_none_of_it(
    keyed: Served, client: httpx.Client, named: dict[str, Any]
) -> None:
    write(client, source="facts", flush=True)
    place = (_tenant(keyed), "ann")
    with keyed.services.database.transaction() as run:
        Intake.put(run, [Entry(Intake.new_id(), *place, "lost", "The tulips are red.")])
        run.execute("UPDATE intake SET refused = 'BudgetError'")
    said = client.post("/v1/memories/ann/forget", json={**named, "dry_run": True}).json()
    assert (said["count"], said["also_removed"]) == (0, {"refused_texts": 1})
    done = client.post("/v1/memories/ann/forget", json=named).json()
    assert (done["count"], done["rows"], done["also_removed"]) == (0, 0, {"refused_texts": 1})
    assert keyed.services.intake.refused(*place) == {}
    assert texts(client) == [FACT]


def test_a_text_that_a_full_memory_refused_is_brought_once_something_was_forgotten(
    keyed: Served, client: httpx.Client
) -> None:
    write(client, source="facts", flush=True)
    place = (_tenant(keyed), "ann")
    with keyed.services.database.transaction() as run:
        Intake.put(run, [Entry(Intake.new_id(), *place, "chat", "The tulips are red.")])
        run.execute("UPDATE intake SET refused = 'BudgetError'")
    client.post("/v1/memories/ann/forget", json={"source": "facts"})
    assert texts(client) == ["The tulips are red."]


@pytest.mark.parametrize("named", [True, False, 1.0, "1", [True], ["1"]])
@pytest.mark.parametrize("deed", ["forget", "rollback"])
def test_what_is_no_number_takes_nothing_away(
    client: httpx.Client, named: object, deed: str
) -> None:
    client.post("/v1/memories/ann/writes", json={"text": FACT, "flush": True})
    answer = client.post(f"/v1/memories/ann/{deed}", json={"write": named})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "write"
    assert [one["id"] for one in client.get("/v1/memories/ann/writes").json()["data"]] == [1]
