from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.fakes import make_mplus
from tests.server.serving import serving
from tests.server.speaking import failure, write

from memplus.errors import UsageError
from memplus.mplus.model import MPlus
from memplus.server.beside import SCHEMA
from memplus.server.database import ServerDatabase
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


def test_a_server_that_cannot_begin_says_so_and_does_not_load_for_ever(
    tmp_path: Path, nano: MPlus, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path, nano) as served:  # makes the file
        database = served.services.database
        with database.transaction() as run:
            change = '{"what": "of a later release", "how": 1}'
            run.execute(
                "INSERT INTO changes (stored, journal, upto, change) VALUES ('a', '', 0, ?)",
                (change,),
            )
    with serving(tmp_path, nano) as served, served.client() as client:
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "failed"})
        assert client.get("/health").is_success
        refused = client.post("/v1/memories/a/writes", json={"text": "x"})
        assert refused.json()["error"]["code"] == "failed"
        (told,) = [one for one in caplog.records if "cannot begin" in one.message]
        assert told.exc_info


def test_without_keys_it_listens_on_this_machine_only(tmp_path: Path, nano: MPlus) -> None:
    settings = ServerSettings(host="0.0.0.0")
    with pytest.raises(UsageError, match="keys"):
        Services(MemoryStore(tmp_path), lambda: nano, settings, model_name="nano")


@pytest.mark.long
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


@pytest.mark.long
def test_two_servers_may_make_the_same_memory_at_once(tmp_path: Path, nano: MPlus) -> None:
    """Who comes while the other makes it waits, as for any writer."""
    with serving(tmp_path, nano) as one, serving(tmp_path, nano) as other:

        def write(call: int) -> tuple[int, bool]:
            with (one, other)[call % 2].client() as client:
                body = {"text": "Only once. "}
                path = f"/v1/memories/m{call // 6}/writes"
                answer = client.post(path, json=body, headers={"Idempotency-Key": "once"})
                return answer.status_code, answer.json().get("repeated", True)

        with ThreadPoolExecutor(6) as threads:
            found = list(threads.map(write, range(18)))
            assert 409 not in {status for status, _ in found}
            assert sum(not repeated for _, repeated in found) == 3
            with one.client() as first, other.client() as second:
                made = list(
                    threads.map(
                        lambda client: client.post("/v1/memories", json={"name": "n"}),
                        (first, second) * 3,
                    )
                )
        assert sorted(answer.status_code for answer in made) == [201] + [409] * 5
        codes = {answer.json().get("error", {}).get("code") for answer in made}
        assert codes == {None, "memory_exists"}


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


def test_a_server_with_another_model_loses_no_text_that_waits(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memplus.server.intake._TELL_SECONDS", 0.0)
    MemoryStore(tmp_path).create("ann", nano).close()
    database = ServerDatabase(tmp_path, SCHEMA)
    with database.transaction() as run:
        Intake.put(run, [Entry(Intake.new_id(), "", "ann", "chat", "A turn.")])
    database.close()
    with serving(tmp_path, make_mplus()) as served, served.client() as client:
        asked = client.post("/v1/memories/ann/ask", json={"question": "Who?"})
        assert failure(asked, 409) == "model_mismatch"
        assert served.services.intake.waiting("", "ann") == 1
    with serving(tmp_path, nano) as served, served.client() as client:
        text = client.get("/v1/memories/ann/writes").json()["tail"]["text"]
        assert text == "A turn."
        assert client.get("/v1/memories/ann").json()["texts_refused"] == []


@pytest.mark.long
def test_a_damaged_memory_that_texts_wait_for_is_told_of_and_can_be_deleted(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        write(client)
    (manifest,) = tmp_path.glob("memories/*/manifest")
    manifest.write_bytes(manifest.read_bytes()[:-9])
    database = ServerDatabase(tmp_path, SCHEMA)
    with database.transaction() as run:
        Intake.put(run, [Entry(Intake.new_id(), "", "ann", "chat", "A turn.")])
    database.close()
    begun = time.monotonic()
    with serving(tmp_path, nano) as served, served.client() as client:
        for answer in (
            client.get("/v1/memories/ann"),
            client.post("/v1/memories/ann/ask", json={"question": "Who?"}),
            client.post("/v1/memories/ann/writes", json={"text": "More."}),
        ):
            assert failure(answer, 422) == "memory_corrupt"
        assert client.delete("/v1/memories/ann").is_success
        assert time.monotonic() - begun < served.services.settings.wait_seconds
        assert failure(client.get("/v1/memories/ann"), 404) == "memory_not_found"
        assert served.services.intake.waiting("", "ann") == 0
