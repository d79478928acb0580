from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.warm import python

from memplus.server.beside import SCHEMA
from memplus.server.database import ServerDatabase
from memplus.server.keys import Keys
from memplus.store import MemoryStore


@contextmanager
def served(store: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`memplus serve` as a process, and where it listens."""
    command = [*python(), "-m", "memplus.cli.main", "serve", "--store", str(store)]
    process = subprocess.Popen(
        [*command, "--port", "0", *flags], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"Listening on (\S+)/v1", line):
                assert re.search(rf"Memories: {re.escape(str(store))}\b.* \(\d+ present\)\.", said)
                yield process, found[1]
                break
        process.kill()


def until_ready(url: str) -> None:
    for _ in range(600):
        if httpx.get(f"{url}/ready").is_success:
            return
        time.sleep(0.1)
    raise TimeoutError


def test_it_serves_until_sigterm_and_ends_well(tmp_path: Path) -> None:
    with served(tmp_path / "s") as (process, url):
        assert httpx.get(f"{url}/health").is_success
        until_ready(url)
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "nano"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.long
def test_several_directories_are_one_store(tmp_path: Path) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    names = [f"m{number}" for number in range(6)]
    MemoryStore(places[1])
    database = ServerDatabase(places[1], SCHEMA)
    headers = {"Authorization": f"Bearer {Keys(database).add('ann')[1]}"}
    database.close()
    with served(places[0], "--store", str(places[1])) as (process, url):
        until_ready(url)
        assert httpx.get(f"{url}/v1/memories").status_code == 401  # keys of either place count
        with httpx.Client(base_url=url, headers=headers) as client:
            for name in names:
                body = {"text": "The gate is red.", "flush": True}
                answer = client.post(f"/v1/memories/{name}/writes", json=body)
                assert answer.status_code == 201, answer.text
            page = client.get("/v1/memories").json()
            assert [one["id"] for one in page["data"]] == names
            gone = client.post("/v1/memories/m0/forget", json={"match": "gate"}).json()
            assert gone["count"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    lie = [MemoryStore(place).names() for place in places]
    assert sorted(lie[0] + lie[1]) == names
    assert all(lie)


def test_ctrl_c_and_a_stop_while_loading_end_well(tmp_path: Path) -> None:
    with served(tmp_path / "s") as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_what_was_acknowledged_before_a_crash_is_written_after_the_next_start(
    tmp_path: Path,
) -> None:
    from memplus.mplus.model import MPlus
    from memplus.server.intake import Entry, Intake

    store, nano = MemoryStore(tmp_path), MPlus.from_pretrained("nano")
    store.create("notes", nano).close()
    database = ServerDatabase(tmp_path, SCHEMA)
    said = ["Anna lives in Oslo.", "Bob lives in Rome."]
    with database.transaction() as run:
        Intake.put(run, [Entry(Intake.new_id(), "", "notes", "chat", text) for text in said])
    database.close()
    with served(tmp_path) as (process, url):
        until_ready(url)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    with store.open("notes", nano) as memory:
        told = "".join(text.text for text in memory.texts().values()) + memory.tail_text
    assert [told.count(text) for text in said] == [1, 1]


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [*python(), "-m", "memplus.cli.main", "serve", "--store", str(tmp_path)]
        done = subprocess.run(
            [*command, "--port", port], capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_network_needs_keys(tmp_path: Path) -> None:
    command = [*python(), "-m", "memplus.cli.main", "serve", "--store", str(tmp_path)]
    done = subprocess.run(
        [*command, "--host", "0.0.0.0"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "memplus keys add" in done.stderr


def test_the_secret_of_gateways_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMPLUS_GATEWAY_SECRET", "short")
    command = [*python(), "-m", "memplus.cli.main", "serve", "--store", str(tmp_path / "s")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode != 0
    assert "gateway_secret" in refused.stderr
    assert "short" not in refused.stderr


def test_a_model_that_is_not_there_ends_it(tmp_path: Path) -> None:
    command = [*python(), "-m", "memplus.cli.main", "serve", "--store", str(tmp_path / "s")]
    missing = str(tmp_path / "typo")
    done = subprocess.run(
        [*command, "--port", "0", "--model", missing], capture_output=True, text=True, timeout=120
    )
    assert done.returncode not in (0, 1)
    assert "typo" in done.stderr
    assert "Traceback" not in done.stderr
