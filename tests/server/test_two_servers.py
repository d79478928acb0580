"""Two servers, or a server and another program, on one store: safe, if slow."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.server.persisting import again
from tests.server.serving import Served, serving
from tests.server.talking import held, user

from memplus.mplus.model import MPlus
from memplus.store import MemoryStore


@contextmanager
def two_servers(folder: Path, model: MPlus, **bounds: float) -> Iterator[tuple[Served, Served]]:
    """Two servers of one store, which have answered something.

    The framework builds its routes at the first request, and not in two threads at a time.
    """
    with serving(folder, model, **bounds) as one, serving(folder, model, **bounds) as other:
        for server in (one, other):
            with server.client() as client:
                assert client.get("/v1/none").status_code == 404
        yield one, other


def test_two_servers_on_one_store_write_everything_once(tmp_path: Path, nano: MPlus) -> None:
    """One waits until the other has let go of a memory, or tells its client to try again."""
    with two_servers(tmp_path, nano, idle_seconds=0.1, wait_seconds=5.0) as (one, other):
        with ThreadPoolExecutor(4) as pool:
            servers = [one, other, one, other]
            marks = [mark for found in pool.map(told, servers, range(4)) for mark in found]
        text = held(one, "notes")
        assert held(other, "notes") == text
        assert len(marks) == 16
        assert {mark: text.count(mark) for mark in marks} == dict.fromkeys(marks, 1)
        assert one.services.store.verify("notes")


def test_a_chat_goes_on_with_a_memory_that_another_program_deleted(
    tmp_path: Path, nano: MPlus
) -> None:
    """Its turns are in no memory any more, and are written into the new one."""
    turns = [user("The gate is red.")]
    body = {"model": "nano", "memory": "notes", "messages": turns}
    with serving(tmp_path, nano, idle_seconds=0.0) as served, served.client() as client:
        for _ in range(2):
            answer = client.post("/v1/chat/completions", json=body)
            assert answer.is_success, answer.text
            assert len(answer.json()["memory"]["written"]) == 1
            assert held(served, "notes").count("The gate is red.") == 1
            again = client.post("/v1/chat/completions", json=body).json()
            assert again["memory"]["written"] == []
            MemoryStore(tmp_path).delete("notes", wait=30)


def test_a_chat_sent_to_two_servers_at_once_under_one_key_has_one_answer(
    tmp_path: Path, nano: MPlus
) -> None:
    begin = threading.Barrier(2)

    def chat(served: Served, number: int) -> httpx.Response:
        turns = [user(f"Gate {number} is red."), user("Which gate is red?")]
        body = {"model": "nano", "memory": "notes", "messages": turns}
        headers = {"Idempotency-Key": f"chat {number}"}
        with served.client() as client:
            begin.wait(60)
            answer = client.post("/v1/chat/completions", json=body, headers=headers)
            while answer.status_code == 409:
                assert answer.json()["error"]["code"] == "idempotency_busy"
                assert answer.headers["Retry-After"] == "1"
                answer = client.post("/v1/chat/completions", json=body, headers=headers)
            return answer

    with two_servers(tmp_path, nano) as (one, other), ThreadPoolExecutor(2) as pool:
        for number in range(3):
            answers = [*pool.map(chat, (one, other), (number, number))]
            assert [answer.status_code for answer in answers] == [200, 200]
            assert answers[0].json() == answers[1].json()


def told(served: Served, number: int) -> list[str]:
    """Write and chat; what was acknowledged."""
    marks = []
    with served.client() as client:
        for count in range(4):
            mark = f"item {number} {count:05d} end"
            path, body = "/v1/memories/notes/writes", {"text": f"{mark}. "}
            if count % 2:
                path = "/v1/chat/completions"
                body = {"model": "nano", "memory": "notes", "messages": [user(f"{mark}.")]}
            if sent(client, path, body, mark):
                marks.append(mark)
    return marks


def sent(client: httpx.Client, path: str, body: dict[str, object], mark: str) -> bool:
    """Whether it was acknowledged, however often it took."""
    for _ in range(100):
        answer = client.post(path, json=body, headers={"Idempotency-Key": mark})
        if not again(answer):
            assert answer.is_success, answer.text
            return True
    return False
