from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from tests.server.serving import Served, serving
from tests.server.talking import held

from memplus.mplus.model import MPlus

GATE, ASKED = "The gate is red.", "What colour is the gate?"


def post(served: Served, said: Any, **fields: Any) -> httpx.Response:
    headers = fields.pop("headers", {})
    with served.client() as client:
        body = {"model": "nano", "input": said} | fields
        return client.post("/v1/responses", json=body, headers=headers)


def answer(served: Served, said: Any, **fields: Any) -> dict[str, Any]:
    response = post(served, said, **fields)
    assert response.is_success, response.text
    found: dict[str, Any] = response.json()
    return found


def text(body: dict[str, Any]) -> str:
    return str(body["output"][0]["content"][0]["text"])


def events(served: Served, said: Any, **fields: Any) -> list[dict[str, Any]]:
    response = post(served, said, stream=True, **fields)
    assert response.is_success, response.text
    found = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        one = json.loads(data.removeprefix("data: "))
        assert name == f"event: {one['type']}"
        found.append(one)
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    return found


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_response_is_gone_on_from_and_each_turn_is_written_once(served: Served) -> None:
    first = answer(served, GATE, user="chain")
    second = answer(served, ASKED, previous_response_id=first["id"])
    assert text(second) == "red"
    assert second["memory"]["id"] == "chain"
    assert second["previous_response_id"] == first["id"]
    third = answer(served, "It rains.", previous_response_id=second["id"])
    assert len(third["memory"]["written"]) == 1
    assert held(served, "chain") == " The gate is red. What colour is the gate?\n It rains."
    refused = post(served, ASKED, previous_response_id=first["id"], memory="else")
    assert code(refused) == (400, "conversation_memory")


def test_a_response_is_kept_until_it_is_deleted(served: Served) -> None:
    made = answer(served, GATE, user="kept", metadata={"a": "b"})
    with served.client() as client:
        path = f"/v1/responses/{made['id']}"
        assert client.get(path).json() == made
        (said,) = client.get(f"{path}/input_items").json()["data"]
        assert said["content"] == [{"type": "input_text", "text": GATE}]
        assert client.delete(path).json()["deleted"]
        assert code(client.get(path)) == (404, "response_not_found")
        assert code(client.delete(path)) == (404, "response_not_found")
    gone = post(served, ASKED, previous_response_id=made["id"])
    assert code(gone) == (404, "previous_response_not_found")


def test_a_kept_response_is_not_streamed_again(served: Served) -> None:
    made = answer(served, "It rains.")
    with served.client() as client:
        refused = client.get(f"/v1/responses/{made['id']}", params={"stream": "true"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")
        whole = client.get(f"/v1/responses/{made['id']}", params={"stream": "false"})
        assert whole.json() == made


def test_where_nothing_is_to_be_stored_nothing_is_kept(served: Served) -> None:
    answer(served, GATE, user="unstored")
    for fields in ({"store": False}, {"headers": {"X-Memory-Task": "tags"}}):
        made = answer(served, "It rains.", user="unstored", **fields)
        assert made["memory"]["written"] == []
        with served.client() as client:
            assert client.get(f"/v1/responses/{made['id']}").status_code == 404
    assert held(served, "unstored") == " The gate is red."


def test_instructions_are_no_turns_and_are_not_carried_on(served: Served) -> None:
    first = answer(served, GATE, user="told", instructions="Be a gate.")
    assert first["instructions"] == "Be a gate."
    second = answer(served, ASKED, previous_response_id=first["id"])
    assert second["instructions"] is None
    assert "Be a gate" not in held(served, "told")


def test_a_stream_has_its_events_in_order(served: Served) -> None:
    answer(served, GATE, user="events")
    found = events(served, ASKED, user="events")
    kinds = [one["type"] for one in found]
    deltas = kinds.count("response.output_text.delta")
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last = found[-1]["response"]
    item = last["output"][0]["id"]
    assert "".join(one["delta"] for one in found if "delta" in one) == text(last) == "red"
    assert {one["item_id"] for one in found if "item_id" in one} == {item}
    assert {one["response"]["id"] for one in found if "response" in one} == {last["id"]}
    assert last["usage"]["total_tokens"] > 0
    assert len(last["memory"]["written"]) == 1


def test_an_answer_that_is_cut_is_incomplete(served: Served) -> None:
    *_, last = events(served, ASKED, max_output_tokens=2)
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    whole = answer(served, ASKED, max_output_tokens=2)
    assert whole["status"] == whole["output"][0]["status"] == "incomplete"


def test_a_stream_under_an_idempotency_key_is_told_again_as_it_was(served: Served) -> None:
    fields: dict[str, Any] = {"user": "repeat", "headers": {"Idempotency-Key": "k"}}
    first, again = events(served, GATE, **fields), events(served, GATE, **fields)
    assert first[-1] | {"sequence_number": 0} == again[-1] | {"sequence_number": 0}
    assert [one["type"] for one in first] == [one["type"] for one in again]
    assert held(served, "repeat") == " The gate is red."


def test_chances_are_told_when_asked_for(served: Served) -> None:
    made = answer(served, ASKED, top_logprobs=2, max_output_tokens=3)
    assert len(made["output"][0]["content"][0]["logprobs"]) == 3
    assert answer(served, ASKED)["output"][0]["content"][0]["logprobs"] == []


def test_nothing_to_answer_is_refused(served: Served) -> None:
    for said in (None, [], "  "):
        assert post(served, said, user="nobody").status_code == 400
    assert held(served, "nobody") == ""


def test_what_a_memory_forgets_is_in_no_file_of_the_server(tmp_path: Path, nano: MPlus) -> None:
    secret = "The PIN is 47114711."
    with serving(tmp_path, nano) as served, served.client() as client:
        talk = client.post("/v1/conversations", json={"memory": "notes"}).json()["id"]
        headers = {"Idempotency-Key": "k"}
        made = answer(served, secret, conversation=talk, headers=headers)
        answer(served, "It rains.", conversation=talk)
        body = {"model": "nano", "user": "notes", "messages": [{"role": "user", "content": secret}]}
        chat = {"X-Conversation-Id": talk}
        assert client.post("/v1/chat/completions", json=body, headers=chat).is_success
        assert b"47114711" in everything(tmp_path)
        forgotten = client.post("/v1/memories/notes/forget", json={"match": "47114711"})
        assert forgotten.is_success, forgotten.text
        assert forgotten.json()["also_removed"]["responses"] == 2
        assert client.get(f"/v1/responses/{made['id']}").status_code == 404
        assert client.get(f"/v1/conversations/{talk}/items").json()["data"] == []
        assert b"47114711" not in everything(tmp_path)
        again = client.post("/v1/chat/completions", json=body, headers=chat).json()
        assert again["memory"]["written"] == []  # a client that sends it again brings nothing back
        assert b"47114711" not in everything(tmp_path)


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_what_the_stock_client_sends_again_is_said_once_in_its_conversation(served: Served) -> None:
    """Without a key: it says itself that it tries again. The same words later are said anew."""
    with served.client() as client:
        begun = client.post("/v1/conversations", json={"memory": {"id": "repeats"}}).json()["id"]
    again = {"x-stainless-retry-count": "1"}
    first = answer(served, "It rains.", conversation=begun)
    assert answer(served, "It rains.", conversation=begun, headers=again) == first
    streamed = events(served, "It rains.", conversation=begun, headers=again)
    assert streamed[-1]["response"]["id"] == first["id"]
    assert held(served, "repeats").count("It rains.") == 1
    anew = answer(served, "It rains.", conversation=begun)
    other = answer(served, "It pours.", conversation=begun, headers=again)
    assert len({first["id"], anew["id"], other["id"]}) == 3
    assert held(served, "repeats").count("It rains.") == 2
    with served.client() as client:
        items = client.get(f"/v1/conversations/{begun}/items").json()["data"]
    assert [one["role"] for one in items] == ["assistant", "user"] * 3


def reference(id: str) -> dict[str, str]:
    return {"type": "item_reference", "id": id}


def test_earlier_answers_may_be_named_by_their_ids(served: Served) -> None:
    """As Vercel's AI SDK does from the second turn of a chat on."""
    first = answer(served, GATE, user="sdk")
    said = first["output"][0]
    again = [
        {"role": "user", "content": GATE},
        reference(said["id"]),
        {"role": "user", "content": ASKED},
    ]
    second = answer(served, again, user="sdk")
    assert text(second) == "red"
    assert len(second["memory"]["written"]) == 1
    with served.client() as client:
        listed = client.get(f"/v1/responses/{second['id']}/input_items", params={"order": "asc"})
        assert [one["content"] for one in listed.json()["data"]][1] == said["content"]
        third = [*again, reference(second["output"][0]["id"]), {"role": "user", "content": ASKED}]
        answer(served, third, user="sdk")
        client.delete(f"/v1/responses/{first['id']}")
    assert code(post(served, again, user="sdk")) == (404, "item_not_found")
    assert held(served, "sdk").count(GATE) == 1


def test_items_are_named_by_those_alone_who_may_see_them(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, keys=True) as served:
        owner = served.key("acme")
        with served.client(owner) as client:
            body = {"model": "nano", "input": GATE, "memory": "notes"}
            said = client.post("/v1/responses", json=body).json()["output"][0]["id"]
            items = {"items": [{"role": "user", "content": GATE}], "memory": "notes"}
            talk = client.post("/v1/conversations", json=items).json()["id"]
            listed = client.get(f"/v1/conversations/{talk}/items").json()["data"][0]["id"]
        colleague, bound = served.key("acme"), served.key("acme", memory="else")
        stranger = served.key("other")
        for key, expected in ((owner, 200), (colleague, 200), (bound, 404), (stranger, 404)):
            for id in (said, listed):
                given = [reference(id), {"role": "user", "content": ASKED}]
                body = {"model": "nano", "input": given, "store": False}
                with served.client(key) as client:
                    response = client.post("/v1/responses", json=body)
                    assert response.status_code == expected, response.text
                    other = client.post("/v1/conversations", json={"items": [reference(id)]})
                    assert other.status_code == expected
