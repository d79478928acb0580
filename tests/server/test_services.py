from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from tests.server.serving import serving

from memplus.errors import UsageError
from memplus.mplus.model import MPlus
from memplus.server.intake import Entry, Intake
from memplus.server.principals import Principal
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.store import Lease, MemoryStore


def test_while_the_model_loads_the_server_lives_and_is_not_ready(
    tmp_path: Path, nano: MPlus
) -> None:
    loaded, loading = threading.Event(), threading.Event()

    def load() -> MPlus:
        loading.set()
        loaded.wait(60)
        return nano

    def look() -> None:
        assert loading.wait(60)
        loaded.set()

    threading.Thread(target=look).start()
    with serving(tmp_path, load) as served, served.client() as client:
        assert client.get("/ready").json() == {"status": "ready"}
        served.services.state = "loading"
        assert client.get("/health").is_success
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "loading"})


def test_a_model_that_cannot_be_loaded_is_told_by_readiness(tmp_path: Path) -> None:
    def load() -> MPlus:
        raise UsageError("there is no such model")

    with serving(tmp_path, load) as served, served.client() as client:
        assert client.get("/ready").json() == {"status": "failed"}
        answer = client.get("/v1/models/nano@a")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1


def test_without_keys_it_listens_on_this_machine_only(tmp_path: Path, nano: MPlus) -> None:
    settings = ServerSettings(host="0.0.0.0")
    with pytest.raises(UsageError, match="keys"):
        Services(MemoryStore(tmp_path), lambda: nano, settings, model_name="nano")


@pytest.mark.parametrize("leases", [False, True])
def test_two_servers_of_one_directory_take_turns_at_one_memory(
    tmp_path: Path, nano: MPlus, leases: bool
) -> None:
    if leases:
        MemoryStore(tmp_path, lease=Lease())
    said = [{"role": "user", "content": "My cat is called Mia."}]
    with serving(tmp_path, nano) as one, serving(tmp_path, nano) as other:
        for number in range(4):
            server = (one, other)[number % 2]
            with server.client() as client:
                text = {"text": f"Note {number} ends. "}
                assert client.post("/v1/memories/a/writes", json=text).status_code == 201
        with one.client() as client, other.client() as second:
            chat = {"model": "nano", "memory": "a", "messages": said, "max_tokens": 4}
            answer = client.post("/v1/chat/completions", json=chat).json()
            assert answer["memory"]["durable"]
            page = second.get("/v1/memories/a/writes").json()
            held = "".join(one["text"] for one in page["data"]) + page["tail"]["text"]
            places = [held.index(f"Note {number} ends.") for number in range(4)]
            assert places == sorted(places)
            assert held.count("Mia") == 1
            assert second.delete("/v1/memories/a").is_success
            assert client.get("/v1/memories/a").status_code == 404


def test_a_text_that_another_process_brought_and_took_back_is_not_written(
    tmp_path: Path, nano: MPlus
) -> None:
    """It was next in line here when the other had written it; its label went by a rollback."""
    entry = Entry(Intake.new_id(), "", "a", "chat", "Anna lives in Oslo.")

    async def run() -> None:
        store = MemoryStore(tmp_path)
        services = Services(store, lambda: nano, ServerSettings(), model_name="nano")
        async with services.running():
            await services.loaded()
            await services.vault.create(Principal(), "a")
            await services._write_entry(entry)
            async with services.vault.reading(Principal(), "a") as memory:
                assert (len(memory.writes), len(memory.tail)) == (0, 0)
            with services.database.transaction() as run:
                Intake.put(run, [entry])
            await services._write_entry(entry)
            async with services.vault.reading(Principal(), "a") as memory:
                assert memory.tail_text == entry.text

    asyncio.run(run())
