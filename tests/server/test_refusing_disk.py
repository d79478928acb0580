"""A disk that is full for a while: nothing half, nothing lost, and everything goes on after it."""

from __future__ import annotations

import httpx
from tests.server.serving import serving
from tests.server.talking import held, user
from tests.store.mounts import fill, small_disk

from memplus.mplus.model import MPlus


def test_a_full_disk_refuses_writes_and_chats_and_answers_questions(nano: MPlus) -> None:
    with (
        small_disk("16m") as disk,
        serving(disk / "store", nano) as served,
        served.client() as client,
    ):
        write(client, "The gate is red. ").raise_for_status()
        said = chat(client, "The door is blue.").json()
        assert said["memory"]["durable"]
        assert held(served, "notes")
        fill(disk)
        for _ in range(2):
            refused = write(client, "The roof is green. " * 2000)
            assert refused.status_code == 507, refused.text
            assert refused.json()["error"]["code"] == "storage_error"
            lost = chat(client, "The wall is white. " * 2000)
            assert lost.status_code in (507, 500), lost.text
            asked = {"question": "What colour is the gate?"}
            answer = client.post("/v1/memories/notes/ask", json=asked)
            assert answer.status_code == 200, answer.text
        (disk / "filling").unlink()
        write(client, "The roof is grey. ").raise_for_status()
        assert chat(client, "The wall is black.").json()["memory"]["durable"]
        text = held(served, "notes")
        for there in ("gate is red", "door is blue", "roof is grey", "wall is black"):
            assert text.count(there) == 1
        assert "green" not in text
        assert "white" not in text
        served.services.store.verify("notes")


def write(client: httpx.Client, text: str) -> httpx.Response:
    return client.post("/v1/memories/notes/writes", json={"text": text})


def chat(client: httpx.Client, text: str) -> httpx.Response:
    body = {"model": "nano", "memory": "notes", "messages": [user(text)]}
    return client.post("/v1/chat/completions", json=body)
