from __future__ import annotations

from typing import Any

import httpx
from tests.server.speaking import ANSWER, FACT, ask, failure, note, texts, write


def test_a_memory_without_a_name_gets_one(client: httpx.Client) -> None:
    first, second = (client.post("/v1/memories", json={}).json()["id"] for _ in range(2))
    assert first != second
    assert client.get(f"/v1/memories/{first}").json()["id"] == first


def test_a_list_comes_in_pages_by_name(client: httpx.Client) -> None:
    names = [f"m{number}" for number in range(5)]
    for name in reversed(names):
        client.post("/v1/memories", json={"id": name})
    found, after = [], ""
    for _ in range(3):
        page = client.get("/v1/memories", params={"limit": 2, "after": after}).json()
        found += [one["id"] for one in page["data"]]
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], found[-1])
        after = page["last_id"]
        assert page["has_more"] == (len(found) < 5)
    assert found == names
    assert failure(client.get("/v1/memories?limit=0"), 400) == "invalid"
    assert failure(client.get("/v1/memories?limit=101"), 400) == "invalid"


def test_an_empty_list_has_no_first_and_no_last(client: httpx.Client) -> None:
    page = client.get("/v1/memories").json()
    assert page == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip


def test_a_memory_tells_what_it_holds_and_what_waits(client: httpx.Client) -> None:
    write(client, source="notes", flush=True)
    write(client, text="Tail.", source="later")
    one = client.get("/v1/memories/ann").json()
    notes, later = one["sources"]
    assert notes == {"source": "notes", "writes": 1, "tokens": one["tokens"], "waiting": 0}
    assert (later["source"], later["writes"], later["waiting"]) == ("later", 0, one["waiting"])
    assert one["waiting"] > 0
    assert one["bytes"] > 100_000
    assert one["short_term_rows"] == 256
    assert set(one["ages"]) == {"oldest", "median", "newest"}
    assert one["changed"] >= one["created"]
    assert (one["texts_waiting"], one["texts_refused"]) == (0, [])


def test_a_fork_goes_its_own_way(client: httpx.Client) -> None:
    write(client, flush=True, metadata={"k": "v"})
    made = client.post("/v1/memories/ann/fork", json={"name": "bob"})
    assert (made.status_code, made.json()["id"], made.json()["writes"]) == (201, "bob", 1)
    assert ask(client, "bob")["answer"] == ANSWER
    (text,) = client.get("/v1/memories/bob/writes").json()["data"]
    assert (text["text"], text["metadata"]) == (FACT, {"k": "v"})
    write(client, "bob", text="Only in the fork.", flush=True)
    assert client.get("/v1/memories/ann").json()["writes"] == 1
    assert failure(client.post("/v1/memories/ann/fork", json={"id": "bob"}), 409) == "memory_exists"
    assert failure(client.post("/v1/memories/ann/fork", json={"id": "a/b"}), 400) == "invalid"


def test_rollback_goes_back_to_what_history_lists(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "second"}
    write(client, flush=True)
    write(client, text=note(2), flush=True, headers=key, metadata={"n": "2"})
    states = client.get("/v1/memories/ann/history").json()["data"]
    assert [one["write"] for one in states][:2] == [0, 1]
    assert states[-1]["write"] > 1
    assert [one["what"].split()[0] for one in states] == ["create", "write", "write"]
    back = client.post("/v1/memories/ann/rollback", json={"write": 1}).json()
    assert (back["writes"], back["tokens"]) == (1, states[1]["tokens"])
    assert ask(client)["answer"] == ANSWER
    # What was taken back may be written anew, with nothing of the first time on it.
    assert write(client, text=note(2), flush=True, headers=key)["repeated"] is False
    page = client.get("/v1/memories/ann/writes").json()
    assert all(one["metadata"] == {} for one in page["data"])
    for wrong in ({"write": 99}, {"commit": 99}):
        answer = client.post("/v1/memories/ann/rollback", json=wrong)
        assert failure(answer, 404) == "state_not_found"
    for wrong in ({}, {"write": 1, "commit": 2}):
        assert client.post("/v1/memories/ann/rollback", json=wrong).status_code == 400


def test_rollback_reaches_states_that_differ_in_what_waits_alone(client: httpx.Client) -> None:
    for text in (FACT, "The boat is blue.", "The hut is green."):
        write(client, text=text)
    states = client.get("/v1/memories/ann/history").json()["data"]
    assert {one["write"] for one in states} == {0}
    client.post("/v1/memories/ann/rollback", json={"commit": states[2]["commit"]})
    (tail,) = texts(client)
    assert "boat" in tail
    assert "hut" not in tail
    client.post("/v1/memories/ann/rollback", json={"commit": states[0]["commit"]})
    assert texts(client) == []


def chat(client: httpx.Client, text: str, **headers: str) -> dict[str, Any]:
    body = {"model": "nano", "user": "ann", "messages": [{"role": "user", "content": text}]}
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    return dict(answer.json())


def test_a_client_that_remembers_a_state_is_given_no_other_under_its_number(
    client: httpx.Client,
) -> None:
    told: dict[int, str] = {}
    for text in ("One.", "Two.", "Three."):
        chat(client, text)
        state = chat(client, "What was said?", **{"X-Memory-Task": "look"})["memory"]["state"]
        told[state] = text
    first, second, third = told
    path = "/v1/memories/ann/"
    assert client.post(f"{path}rollback", json={"commit": first}).status_code == 200
    look = chat(client, "What was said?", **{"X-Memory-Task": "look"})["memory"]
    assert look["state"] == first  # what it was then, to the last bit
    for text in ("Four.", "Five."):
        chat(client, text)
        state = chat(client, "What was said?", **{"X-Memory-Task": "look"})["memory"]["state"]
        assert state not in told
        told[state] = text
    for gone in (second, third):
        refused = client.post(f"{path}rollback", json={"commit": gone})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "state_not_found")
    listed = [one["commit"] for one in client.get(f"{path}history").json()["data"]]
    assert listed == sorted(set(listed))
    assert set(listed) & {second, third} == set()


def test_what_an_answer_says_is_durable_is_there_after_a_rollback_too(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "once"}
    chat(client, "One.")
    first = chat(client, "Two.", **key)
    assert chat(client, "Two.", **key) == first
    state = client.get("/v1/memories/ann/history").json()["data"][0]["commit"]
    assert client.post("/v1/memories/ann/rollback", json={"commit": state}).status_code == 200
    again = chat(client, "Two.", **key)
    assert again["memory"]["durable"]
    assert again["memory"]["written"] != first["memory"]["written"]
    page = client.get("/v1/memories/ann/writes").json()
    assert "Two." in page["tail"]["text"]
    assert chat(client, "Two.", **key) == again
