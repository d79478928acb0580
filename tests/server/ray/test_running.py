"""Several processes behind one address do what one does, and lose nothing where one is lost."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server.ray.cluster import Cluster, Load, cluster, told, until
from tests.server.serving import serving
from tests.store.fakes import contents

from memplus.mplus.model import MPlus
from memplus.server.beside import SCHEMA
from memplus.server.database import ServerDatabase
from memplus.server.keys import Keys
from memplus.server.ray.application import prepare
from memplus.server.ray.deployment import Deployed
from memplus.store import Lease, MemoryStore

pytestmark = pytest.mark.slow

_TEXTS = ["Anna lives in Oslo and likes tea. ", "Bob lives in Rome. ", "Anna moved to Bergen. "]
_TOLD_EACH_TIME_ANEW = {
    "bytes", "changed", "created", "id", "last_used", "seconds", "time", "what", "written",
}  # fmt: skip


@pytest.fixture(scope="module")
def nano() -> MPlus:
    return MPlus.from_pretrained("nano").eval()


def plain(answer: Any) -> Any:
    """An answer without what differs from one time to the next."""
    if isinstance(answer, dict):
        return {
            name: plain(value) for name, value in answer.items() if name not in _TOLD_EACH_TIME_ANEW
        }
    return [plain(one) for one in answer] if isinstance(answer, list) else answer


def streamed(client: httpx.Client, chat: dict[str, Any]) -> tuple[str, str]:
    """The text of an answer that comes in pieces, and how it ended."""
    answer = client.post("/v1/chat/completions", json=chat | {"stream": True})
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines[:-1]]
    assert len(deltas) > 2
    return "".join(one.get("content") or "" for one in deltas), lines[-1]


def talk(client: httpx.Client, memories: list[str]) -> list[Any]:
    """What a server answers to writes, questions and mistakes."""
    told: list[Any] = []

    def keep(answer: httpx.Response) -> None:
        told.append((answer.status_code, plain(answer.json())))

    for memory in memories:
        path = f"/v1/memories/{memory}"
        keep(client.post(f"{path}/ask", json={"question": "Where does Anna live?"}))
        for text in _TEXTS:
            keep(client.post(f"{path}/writes", json={"text": text * 20, "source": "mail"}))
            keep(client.post(f"{path}/ask", json={"question": "Where does Anna live?"}))
        chat = {"model": "nano", "memory": memory, "max_tokens": 12, "messages": []}
        for turn in "Hello, I am Cleo.", "Who am I?":
            chat["messages"] += [{"role": "user", "content": turn}]
            keep(client.post("/v1/chat/completions", json=chat))
            told.append(streamed(client, chat | {"store": False}))
        keep(client.post(f"{path}/search", json={"query": "Rome", "limit": 3}))
        keep(client.get(path))
        keep(client.get(f"{path}/history"))
    keep(client.post("/v1/memories/a/fork", json={"id": "copy"}))
    keep(client.post("/v1/memories/a/forget", json={"source": "mail"}))
    keep(client.get("/v1/memories/copy/writes"))
    keep(client.delete("/v1/memories/copy"))
    keep(client.get("/v1/memories"))
    keep(client.get("/v1/models"))
    keep(client.post("/v1/memories/a/writes", json={"text": ""}))
    keep(client.get("/nothing"))
    return told


def held(store: Path, nano: MPlus, memory: str) -> dict[str, Any]:
    """Everything that a memory consists of."""
    with MemoryStore.existing(store).open(memory, nano) as opened:
        return contents(opened)


def test_answers_and_memories_are_those_of_one_process(tmp_path: Path, nano: MPlus) -> None:
    memories = [chr(ord("a") + number) for number in range(6)]
    one, many = tmp_path / "one", tmp_path / "many"
    with serving(one, nano) as server, server.client() as client:
        expected = talk(client, memories)
    with cluster(many, replicas=2) as served, served.client() as client:
        assert len(served.replicas()) == 2
        for found, wanted in zip(talk(client, memories), expected, strict=True):
            assert found == wanted
        assert len({served.owner(memory).pid for memory in memories}) == 2
        assert client.get("/ready").status_code == 200
        assert client.get("/health").json() == {"status": "ok"}
    for memory in memories:
        assert held(many, nano, memory) == held(one, nano, memory)
        assert told(many, nano, memory) == told(one, nano, memory)


def test_a_replica_that_is_killed_in_the_middle_of_writes_loses_nothing_acknowledged(
    tmp_path: Path, nano: MPlus
) -> None:
    memories = ["a", "b", "c", "d"]
    short = {"lease_seconds": 2.0, "lease_margin": 1.0}
    said: list[str] = []
    with cluster(tmp_path, replicas=2, **short) as served:
        with Load(served.url, memories, writers=4) as load, served.client() as client:
            for number in range(2):
                before = load.count
                until(lambda: load.count > before + 20)  # noqa: B023
                text = f"My number is {number}."
                owner = served.owner("a")
                answer = chat(client, "a", text)
                owner.kill()  # the text may still wait for its memory
                if answer.is_success and answer.json()["memory"]["durable"]:
                    said.append(text)
                until(lambda: len(served.replicas()) == 2)
            before = load.count
            until(lambda: load.count > before + 20)
            assert client.get("/v1/memories/a").json()["texts_waiting"] == 0
        assert load.failed, "no client has noticed anything: nothing was killed in time"
    check(load, tmp_path, nano)
    assert said, "no chat was answered"
    assert [told(tmp_path, nano, "a").count(text) for text in said] == [1] * len(said)


def chat(client: httpx.Client, memory: str, text: str) -> httpx.Response:
    """One turn, asked again where its memory is busy, as stock clients do."""
    turn = {"role": "user", "content": text}
    asked = {"model": "nano", "memory": memory, "max_tokens": 2, "messages": [turn]}
    for _ in range(5):
        answer = client.post("/v1/chat/completions", json=asked)
        if answer.status_code not in (409, 503):
            break
    return answer


def check(load: Load, store: Path, nano: MPlus) -> None:
    """Every text that was acknowledged is there, once; the order of each writer is kept."""
    for memory, texts in load.acknowledged.items():
        held = told(store, nano, memory)
        assert [held.count(text) for text in texts] == [1] * len(texts)
        assert MemoryStore.existing(store).verify(memory)


def test_replicas_come_and_go_with_the_load_and_nothing_is_lost(
    tmp_path: Path, nano: MPlus
) -> None:
    memories = [f"m{number}" for number in range(8)]
    quick = {"ongoing": 1.0, "upscale_seconds": 1.0, "downscale_seconds": 5.0}
    owners: set[int] = set()
    with cluster(tmp_path, replicas=1, max_replicas=3, **quick) as served:
        with Load(served.url, memories, writers=8) as load:
            until(lambda: len(served.replicas()) == 3)
            before = load.count
            until(lambda: load.count > before + 40)
            owners |= {served.owner(memory).pid for memory in memories}
        assert len(owners) > 1
        with Load(served.url, ["slow"], writers=1, pause=1.0) as slow:
            until(lambda: len(served.replicas()) == 1)
            before = slow.count
            until(lambda: slow.count > before + 3)
    check(load, tmp_path, nano)
    check(slow, tmp_path, nano)


def test_a_keys_minute_and_the_list_of_requests_are_those_of_all_replicas(tmp_path: Path) -> None:
    memories = [f"m{number}" for number in range(8)]
    prepare(Deployed("nano", str(tmp_path))).close()
    database = ServerDatabase(tmp_path, SCHEMA)
    _, key = Keys(database).add("ann", scopes=("admin",))
    bounds = {"requests_per_minute": 30, "body_bytes": 10_000}
    with cluster(tmp_path, replicas=2, settings=bounds) as served, served.client(key) as client:
        for path in "/health", "/ready", "/nothing":
            given = client.get(path, headers={"x-request-id": "my-own"})
            assert given.headers.get_list("x-request-id") == ["my-own"]
        ids = []
        for memory in memories:
            answer = client.post(f"/v1/memories/{memory}/writes", json={"text": f"I am {memory}."})
            assert answer.status_code == 201, answer.text
            ids.append(answer.headers["x-request-id"])
        assert answer.headers["x-ratelimit-remaining-requests"] == "22"
        assert len({served.owner(memory).pid for memory in memories}) == 2
        large = client.post("/v1/memories/m0/writes", content=b"x" * 20_000)
        assert large.json()["error"]["code"] == "request_too_large"
        ids.append(large.headers["x-request-id"])
        time.sleep(0.5)  # the last is told of after its answer
        listed = client.get("/v1/requests", params={"limit": 100}).json()["data"]
        assert [one["id"] for one in reversed(listed)] == ids
        assert listed[0]["code"] == "request_too_large"
        told = [client.get(f"/v1/memories/{name}") for name in memories for _ in range(3)]
        codes = [answer.status_code for answer in told]
        assert codes == [200] * 21 + [429] * 3
        assert told[-1].headers["x-ratelimit-remaining-requests"] == "0"
        assert int(told[-1].headers["retry-after"]) >= 1
        served.process("tally").kill()  # nobody is refused for want of it, and it comes back
        assert client.get("/v1/memories/m0").status_code == 200
        until(lambda: client.get("/v1/requests").is_success)
    database.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One replica, which loses its memories soon."""
    store = tmp_path_factory.mktemp("alone")
    with cluster(store, replicas=1, lease_seconds=1.0, lease_margin=0.5) as served:
        yield served


def test_a_client_that_leaves_frees_its_place(alone: Cluster) -> None:
    def running() -> float:
        with alone.client() as client:
            (line,) = [
                one for one in client.get("/metrics").text.splitlines()
                if one.startswith("memplus_requests_running")
            ]  # fmt: skip
            return float(line.rpartition(" ")[2])

    asked = {"model": "nano", "prompt": "Tell me a long story.", "max_tokens": 800}
    asked |= {"stream": True, "seed": 4, "temperature": 2.0}
    with alone.client() as client:
        begun = time.monotonic()
        assert client.post("/v1/completions", json=asked).text.count("data: ") > 200
        whole = time.monotonic() - begun
        with client.stream("POST", "/v1/completions", json=asked) as answer:
            pieces = answer.iter_lines()  # dropped it would close the answer
            next(pieces)
            assert running() == 1
        until(lambda: running() == 0, whole / 2)


def test_an_owner_that_stood_still_while_another_wrote_commits_nothing_and_reads_what_is_there(
    alone: Cluster, nano: MPlus
) -> None:
    store, path = alone.store, "/v1/memories/a"
    with alone.client() as client:
        assert client.post(f"{path}/writes", json={"text": "Anna lives in Oslo."}).is_success
        owner = alone.owner("a")
        outcome: list[httpx.Response] = []
        long = {"text": "Bob lives in Rome. " * 400}
        writing = threading.Thread(
            target=lambda: outcome.append(client.post(f"{path}/writes", json=long))
        )
        writing.start()
        time.sleep(0.3)
        owner.send_signal(signal.SIGSTOP)
        try:
            theirs = MemoryStore(store, lease=Lease("another", seconds=1.0, margin=0.5))
            with theirs.open("a", nano, write=True, wait=60) as memory:
                before = told(store, nano, "a")
                nano.write(memory, "Cleo lives in Paris.")
        finally:
            owner.send_signal(signal.SIGCONT)
        writing.join(120)
        assert "Bob" in before or outcome[0].status_code in (409, 503), outcome[0].text
        page = client.get(f"{path}/writes", params={"limit": 100}).json()
        held = "".join(one["text"] for one in page["data"]) + page["tail"]["text"]
        assert held == before + "Cleo lives in Paris."
        assert client.post(f"{path}/writes", json={"text": " Dan lives in Bonn."}).is_success
    assert told(store, nano, "a") == before + "Cleo lives in Paris. Dan lives in Bonn."
    assert MemoryStore.existing(store).verify("a")
