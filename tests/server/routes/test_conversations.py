from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.server.serving import Served, serving
from tests.server.talking import held

from memplus.mplus.model import MPlus
from memplus.server.database import ServerDatabase


def told(role: str, text: str) -> dict[str, str]:
    return {"type": "message", "role": role, "content": text}


def respond(served: Served, said: str, **fields: Any) -> dict[str, Any]:
    with served.client() as client:
        body = {"model": "nano", "input": said} | fields
        response = client.post("/v1/responses", json=body)
    assert response.is_success, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_conversation_is_gone_on_with_and_written_when_it_goes_on(served: Served) -> None:
    with served.client() as client:
        body = {
            "items": [told("developer", "Be brief."), told("user", "The gate is red.")],
            "metadata": {"memory_id": "talk", "topic": "gates"},
        }
        made = client.post("/v1/conversations", json=body).json()
        assert made["object"] == "conversation"
        assert made["memory"] == {"id": "talk"}
        path = f"/v1/conversations/{made['id']}"
        assert held(served, "talk") == ""
        found = respond(served, "What colour is the gate?", conversation=made["id"])
        assert found["conversation"] == {"id": made["id"]}
        assert len(found["memory"]["written"]) == 2
        assert held(served, "talk") == " The gate is red. What colour is the gate?\n"
        items = client.get(f"{path}/items", params={"order": "asc"}).json()["data"]
        assert [one["role"] for one in items] == ["developer", "user", "user", "assistant"]
        one = client.get(f"{path}/items/{items[1]['id']}").json()
        assert one == items[1]
        assert client.delete(f"{path}/items/{one['id']}").json() == made
        assert client.get(f"{path}/items/{one['id']}").status_code == 404
        changed = client.post(path, json={"metadata": {"topic": "doors"}}).json()
        assert changed == made | {"metadata": {"topic": "doors"}}
        assert client.get(path).json() == changed
        assert client.delete(path).json()["deleted"]
        assert client.get(path).json()["error"]["code"] == "conversation_not_found"
    assert held(served, "talk") == " The gate is red. What colour is the gate?\n"


def test_items_are_added_and_written_when_the_conversation_goes_on(served: Served) -> None:
    with served.client() as client:
        id = client.post("/v1/conversations", headers={"X-Memory-Id": "added"}).json()["id"]
        body = {"items": [told("user", "The car is blue."), told("assistant", "Noted.")]}
        added = client.post(f"/v1/conversations/{id}/items", json=body).json()
        assert [one["role"] for one in added["data"]] == ["user", "assistant"]
        many = {"items": [told("user", "x")] * 21}
        assert client.post(f"/v1/conversations/{id}/items", json=many).status_code == 400
    for said in ("It rains.", "It snows."):
        respond(served, said, conversation=id)
    assert held(served, "added") == " The car is blue. It rains. It snows."


@pytest.mark.parametrize("deleted", [1, 2, 3])
def test_what_stands_behind_a_deleted_item_is_not_written_again(
    served: Served, deleted: int
) -> None:
    """An answer, what was told, or the answer to that."""
    with served.client() as client:
        id = client.post("/v1/conversations", json={"memory": f"less{deleted}"}).json()["id"]
        told_before = [f"The gate {name} is open." for name in ("north", "south", "east")]
        for one in told_before:
            respond(served, one, conversation=id)
        page = client.get(f"/v1/conversations/{id}/items", params={"order": "asc"}).json()["data"]
        assert client.delete(f"/v1/conversations/{id}/items/{page[deleted]['id']}").is_success
        for one in ("It rains.", "It snows."):
            assert len(respond(served, one, conversation=id)["memory"]["written"]) == 1
    assert held(served, f"less{deleted}") == "".join(
        f" {one}" for one in (*told_before, "It rains.", "It snows.")
    )


def test_turns_that_come_at_once_are_written_once_each(served: Served) -> None:
    with served.client() as client:
        id = client.post("/v1/conversations", json={"memory": "crowd"}).json()["id"]
    respond(served, "It is noon.", conversation=id)
    said = [f"The gate {name} is open." for name in ("north", "south", "east", "west")]
    with ThreadPoolExecutor(len(said)) as pool:
        list(pool.map(lambda one: respond(served, one, conversation=id), said))
    assert len(respond(served, "It rains.", conversation=id)["memory"]["written"]) == 1
    assert len(respond(served, "It snows.", conversation=id)["memory"]["written"]) == 1
    text = held(served, "crowd")
    assert [text.count(one) for one in ("It is noon.", *said, "It rains.", "It snows.")] == [1] * 7


def test_a_conversation_of_an_earlier_release_goes_on(tmp_path: Path, nano: MPlus) -> None:
    """Its items do not say what their turns are called."""
    with serving(tmp_path, nano) as served, served.client() as client:
        id = client.post("/v1/conversations", json={"memory": "old"}).json()["id"]
        respond(served, "It rains.", conversation=id)
        held(served, "old")
    with sqlite3.connect(tmp_path / "server.db") as database:
        database.execute("ALTER TABLE items DROP COLUMN link")
    with serving(tmp_path, nano) as served:
        assert len(respond(served, "It snows.", conversation=id)["memory"]["written"]) == 1
        assert len(respond(served, "It pours.", conversation=id)["memory"]["written"]) == 1
        assert held(served, "old") == " It rains. It snows. It pours."


def test_what_a_client_notes_of_a_conversation_stays_in_no_file_when_it_is_replaced(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        made = client.post("/v1/conversations", json={"metadata": {"note": "47114711"}}).json()
        assert client.post(f"/v1/conversations/{made['id']}", json={"metadata": {}}).is_success
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(b"47114711" in path.read_bytes() for path in files)


def test_a_conversation_takes_the_memory_that_it_begins_with(served: Served) -> None:
    with served.client() as client:
        id = client.post("/v1/conversations", json={}).json()["id"]
        respond(served, "It rains.", conversation=id, user="later")
        assert client.get(f"/v1/conversations/{id}").json()["memory"] == {"id": "later"}
        body = {"model": "nano", "input": "It snows.", "conversation": id, "memory": "else"}
        refused = client.post("/v1/responses", json=body).json()["error"]
        assert refused["code"] == "conversation_memory"
        body["conversation"] = "conv_unknown"
        assert client.post("/v1/responses", json=body).status_code == 404


def test_other_tenants_keys_and_readers_have_no_part_in_it(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, keys=True) as served:
        owner = served.key("acme")
        with served.client(owner) as client:
            made = client.post("/v1/conversations", json={"memory": "notes"}).json()
        path = f"/v1/conversations/{made['id']}"
        colleague, reader = served.key("acme"), served.key("acme", scopes=("read",))
        bound, stranger = served.key("acme", memory="else"), served.key("other")
        for key, expected in ((colleague, 200), (reader, 200), (bound, 404), (stranger, 404)):
            with served.client(key) as client:
                assert client.get(path).status_code == expected
        with served.client(reader) as client:
            assert client.post("/v1/conversations").status_code == 403
            assert client.delete(path).status_code == 403
            assert client.post(f"{path}/items", json={"items": []}).status_code == 403
        with served.client(stranger) as client:
            assert client.delete(path).status_code == 404
            assert client.post(path, json={"metadata": {}}).status_code == 404
            assert client.get(f"{path}/items").status_code == 404


def test_items_are_listed_by_the_page(served: Served) -> None:
    with served.client() as client:
        body = {"items": [told("user", f"Number {n}.") for n in range(5)]}
        path = f"/v1/conversations/{client.post('/v1/conversations', json=body).json()['id']}/items"
        first = client.get(path, params={"limit": 3}).json()
        texts = [one["content"][0]["text"] for one in first["data"]]
        assert texts == ["Number 4.", "Number 3.", "Number 2."]
        assert first["has_more"]
        rest = client.get(path, params={"limit": 3, "after": first["last_id"]}).json()
        assert [one["content"][0]["text"] for one in rest["data"]] == ["Number 1.", "Number 0."]
        assert not rest["has_more"]
        assert rest["first_id"] == rest["data"][0]["id"]
        other = client.get(path, params={"after": "msg_none"})
        assert (other.status_code, other.json()["error"]["code"]) == (404, "item_not_found")
        for wrong in ({"limit": 0}, {"limit": 101}, {"order": "up"}):
            assert client.get(path, params=wrong).status_code == 400


def test_while_the_database_is_asked_the_server_answers_others(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks it waits for others who change it, and for the disk."""
    waited: list[str] = []

    def noted(name: str) -> None:
        method = getattr(ServerDatabase, name)

        def asked(self: ServerDatabase, *given: Any) -> Any:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop()
                stack = "".join(traceback.format_stack(limit=8))
                if "intake.py" not in stack:
                    waited.append(stack)
            return method(self, *given)

        monkeypatch.setattr(ServerDatabase, name, asked)

    with serving(tmp_path, nano) as served, served.client() as client:
        for name in ("rows", "transaction", "scrub"):
            noted(name)
        id = client.post("/v1/conversations", json={"memory": "notes"}).json()["id"]
        path = f"/v1/conversations/{id}"
        found = respond(served, "The gate is red.", conversation=id)
        again = {"x-stainless-retry-count": "1"}
        body = {"model": "nano", "input": "The gate is red.", "conversation": id}
        assert client.post("/v1/responses", json=body, headers=again).json()["id"] == found["id"]
        respond(served, "And now?", previous_response_id=found["id"])
        client.post(f"{path}/items", json={"items": [told("user", "The car is blue.")]})
        listed = client.get(f"{path}/items").json()["data"]
        client.get(f"{path}/items/{listed[0]['id']}")
        client.delete(f"{path}/items/{listed[0]['id']}")
        client.post(path, json={"metadata": {}})
        client.delete(path)
        client.get(f"/v1/responses/{found['id']}")
        client.get(f"/v1/responses/{found['id']}/input_items")
        client.delete(f"/v1/responses/{found['id']}")
        chat = {"model": "nano", "messages": [{"role": "user", "content": "Who?"}]}
        client.post("/v1/chat/completions", json=chat | {"conversation": "mine"})
        assert not waited, waited[0]


def test_what_is_kept_of_a_tenant_is_bounded_in_bytes(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, stored_bytes=20_000) as served, served.client() as client:
        ids = []
        for _ in range(4):
            body = {"items": [told("user", "The gate is red. " * 500)]}
            ids.append(client.post("/v1/conversations", json=body).json()["id"])
        found = [client.get(f"/v1/conversations/{id}").status_code for id in ids]
        assert found == [404, 404, 200, 200]
        said = [respond(served, f"{n} " * 4000, store=True)["id"] for n in range(4)]
        found = [client.get(f"/v1/responses/{id}").status_code for id in said]
        assert found == [404, 404, 200, 200]


def test_metadata_and_names_of_conversations_are_short(served: Served) -> None:
    with served.client() as client:
        for metadata in ({"a": "x" * 513}, {"x" * 65: "a"}, {f"n{n}": "a" for n in range(17)}):
            made = client.post("/v1/conversations", json={"metadata": metadata})
            assert made.status_code == 400
        chat = {"model": "nano", "messages": [{"role": "user", "content": "Who?"}]}
        long = client.post("/v1/chat/completions", json=chat | {"conversation": "x" * 513})
        assert long.status_code == 400
