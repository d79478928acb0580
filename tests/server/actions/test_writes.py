from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server.serving import Served, serving
from tests.server.speaking import ANSWER, FACT, ask, failure, note, texts, write

from memplus.errors import StorageError
from memplus.mplus.model import MPlus
from memplus.server.actions.writes import Said
from memplus.server.calls import Call
from memplus.store import MemoryStore


def test_a_write_says_what_it_did(client: httpx.Client) -> None:
    first = write(client, source="notes", flush=True)
    assert (first["memory"], first["source"], first["writes"]) == ("ann", "notes", [1])
    assert (first["waiting"], first["durable"], first["created"]) == (0, True, True)
    second = write(client, text="A tail.", source="notes")
    assert (second["writes"], second["created"], second["repeated"]) == ([], False, False)
    assert second["waiting"] == second["tokens"] > 0
    assert ask(client)["answer"] == ANSWER


def test_a_write_is_on_the_disk_when_it_is_acknowledged(nano: MPlus, tmp_path: Path) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        done = write(client, text=note(1) * 3)
        with MemoryStore(tmp_path).open("ann", nano) as memory:  # another reader
            assert [one.id for one in memory.writes] == done["writes"]
            assert len(memory.tail) == done["waiting"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"text": "a", "messages": []}, "invalid"),
        ({"text": ""}, "empty_text"),
        ({"text": " \n\t"}, "empty_text"),
        ({"messages": []}, "empty_text"),
        ({"messages": [{"role": "system", "content": "You are kind."}]}, "empty_text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "invalid"),
        ({"text": "a", "source": "x" * 501}, "invalid"),
        ({"text": "a", "metadata": {"k": 1}}, "invalid"),
        ({"text": "a", "metadata": {str(n): "v" for n in range(17)}}, "invalid"),
    ],
)
def test_what_holds_nothing_to_write_is_refused_and_makes_no_memory(
    client: httpx.Client, body: dict[str, Any], code: str
) -> None:
    assert failure(client.post("/v1/memories/ann/writes", json=body), 400) == code
    assert client.get("/v1/memories").json()["data"] == []


def test_half_a_character_is_refused_and_makes_no_memory(client: httpx.Client) -> None:
    for body in ('{"text": "a\\ud800"}', '{"text": "a", "source": "\\udfff"}'):
        answer = client.post(
            "/v1/memories/ann/writes", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400, answer.text
    assert client.get("/v1/memories").json()["data"] == []


def test_of_messages_the_turns_are_written_and_prompts_are_not(client: httpx.Client) -> None:
    messages = [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": [{"type": "text", "text": FACT}]},
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": "Noted."},
    ]
    done = write(client, text=None, messages=messages)
    assert done["skipped"] == 2
    assert texts(client) == [f"{FACT}\nNoted."]
    assert ask(client)["answer"] == ANSWER


def test_a_key_makes_repeated_calls_one_write(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "4f1c"}
    first = write(client, source="notes", flush=True, headers=key)
    write(client, text="Something between.", source="notes", flush=True)
    again = write(client, source="notes", flush=True, headers=key)
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert (again["id"], again["writes"]) == (first["id"], first["writes"])
    assert len(texts(client)) == 2
    answer = client.post("/v1/memories/ann/writes", json={"text": "Other."}, headers=key)
    assert failure(answer, 409) == "idempotency_key_reused"
    assert answer.json()["error"]["type"] == "conflict_error"
    assert answer.headers["x-should-retry"] == "false"
    assert len(texts(client)) == 2
    # Another memory, another write.
    assert write(client, "bob", source="notes", flush=True, headers=key)["repeated"] is False


def test_a_key_is_known_again_after_a_restart(nano: MPlus, tmp_path: Path) -> None:
    key = {"Idempotency-Key": "4f1c"}
    for expected in (False, True):
        with serving(tmp_path, nano) as served, served.client() as client:
            assert write(client, headers=key)["repeated"] is expected
    with serving(tmp_path, nano) as served, served.client() as client:
        with served.services.database.transaction() as run:
            run.execute("DELETE FROM calls")  # as where it was long ago
        answer = client.post("/v1/memories/ann/writes", json={"text": FACT}, headers=key)
        assert failure(answer, 409) == "idempotency_key_reused"
        assert texts(client) == [FACT]


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_key_is_known_after_its_text_was_forgotten_and_tells_nobody_what_it_was(
    keyed: Served, client: httpx.Client, rebuild: bool
) -> None:
    key = {"Idempotency-Key": "4f1c"}
    write(client, source="facts", metadata={"page": "4821"}, headers=key)
    write(client, text="The sky is wide.", source="other")
    client.post("/v1/memories/ann/forget", json={"source": "facts", "rebuild": rebuild})
    (call,) = keyed.services.calls.noted(f"{keyed.services.keys.all()[-1].tenant}/ann")
    assert (call.source, call.tokens, call.metadata) == ("", 0, {})
    assert call.digest != Said(FACT, "facts", {"page": "4821"}).digest
    again = write(client, source="facts", metadata={"page": "4821"}, headers=key)
    assert (again["repeated"], again["tokens"]) == (True, 0)
    answer = client.post("/v1/memories/ann/writes", json={"text": "Other."}, headers=key)
    assert failure(answer, 409) == "idempotency_key_reused"
    assert "".join(texts(client)) == "The sky is wide."


def test_a_client_that_repeats_itself_without_a_key_writes_once(client: httpx.Client) -> None:
    first = write(client)
    again = write(client, headers={"x-stainless-retry-count": "1"})
    assert (again["repeated"], again["id"]) == (True, first["id"])
    write(client, text="Bob lives in Rome. ", source="others")
    later = write(client, headers={"x-stainless-retry-count": "2"})
    assert (later["repeated"], later["id"]) == (True, first["id"]), "others have written since"
    assert sum(text.count(FACT) for text in texts(client)) == 1
    assert write(client, headers={"x-stainless-retry-count": "0"})["repeated"] is False
    assert sum(text.count(FACT) for text in texts(client)) == 2


def test_a_call_that_the_process_wrote_and_did_not_note_any_more_is_known_again(
    keyed: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it is killed behind the commit: without a key, and with what belongs to it."""
    calls, noted = keyed.services.calls, keyed.services.calls.add

    def add(stored: str, call: Call) -> None:
        if call.writes:  # known behind the commit
            raise StorageError("disk", reason="as good as dead")
        noted(stored, call)

    monkeypatch.setattr(calls, "add", add)
    body = {"metadata": {"page": "7"}, "flush": True}
    first = write(client, **body)
    again = write(client, headers={"x-stainless-retry-count": "1"}, **body)
    assert (again["repeated"], again["id"]) == (True, first["id"])
    (only,) = client.get("/v1/memories/ann/writes").json()["data"]
    assert (only["text"], only["metadata"]) == (FACT, {"page": "7"})


def test_equal_calls_with_one_key_at_once_are_one_write(
    keyed: Served, client: httpx.Client
) -> None:
    key = {"Idempotency-Key": "at once"}
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: write(client, headers=key), range(4)))
    assert sorted(one["repeated"] for one in done) == [False, True, True, True]
    assert texts(client) == [FACT]


def test_writers_of_one_memory_take_turns_and_lose_nothing(client: httpx.Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda n: write(client, text=note(n), source=f"s{n}", flush=True), range(8))
        ids = [id for one in done for id in one["writes"]]
    assert len(ids) == len(set(ids))
    said = "".join(texts(client))
    assert all(note(number) in said for number in range(8))


def test_a_key_for_reading_writes_nothing(keyed: Served, client: httpx.Client) -> None:
    tenant = f"r{len(keyed.services.keys.all())}"
    with keyed.client(keyed.key(tenant)) as writer:
        write(writer)
    with keyed.client(keyed.key(tenant, scopes=("read",))) as reader:
        assert ask(reader)["answer"] == ANSWER
        for method, path, body in (
            ("POST", "/v1/memories", {"id": "new"}),
            ("POST", "/v1/memories/ann/writes", {"text": "More."}),
            ("POST", "/v1/memories/new/writes", {"text": "More."}),
            ("POST", "/v1/memories/ann/forget", {"match": "locker"}),
            ("POST", "/v1/memories/ann/rollback", {"write": 0}),
            ("POST", "/v1/memories/ann/fork", {"id": "new"}),
            ("POST", "/v1/memories:import?id=new", {}),
            ("DELETE", "/v1/memories/ann", None),
        ):
            answer = reader.request(method, path, json=body)
            assert failure(answer, 403) == "forbidden", path
        assert texts(reader) == [FACT]


def test_what_was_written_comes_in_pages_with_its_metadata(client: httpx.Client) -> None:
    for number in range(4):
        write(
            client, text=note(number), source=f"s{number}", flush=True, metadata={"n": str(number)}
        )
    write(client, text="The tail.", source="last")
    found: list[dict[str, Any]] = []
    after, more = 0, True
    while more:
        page = client.get(f"/v1/memories/ann/writes?limit=3&after={after}").json()
        found += page["data"]
        after, more = page["last_id"], page["has_more"]
        assert (page["tail"] is None) == more
    assert page["tail"]["text"] == "The tail."
    assert [one["id"] for one in found] == list(range(1, len(found) + 1))
    assert all(one["metadata"] == {"n": one["source"][1:]} for one in found)
    joined = "".join(one["text"] for one in found)
    assert joined == "".join(note(number) for number in range(4))


def test_metadata_belongs_to_the_chunks_that_hold_some_of_its_text(client: httpx.Client) -> None:
    write(client, text=note(1), source="s", metadata={"first": "1"})
    write(client, text=note(2), source="s", metadata={"second": "2"}, flush=True)
    data = client.get("/v1/memories/ann/writes").json()["data"]
    assert data[0]["metadata"]["first"] == "1"
    assert data[-1]["metadata"] == {"second": "2"}
    for one in data:
        assert ("first" in one["metadata"]) == any(
            part in one["text"] for part in ("Shelf 1", "box 13")
        )
