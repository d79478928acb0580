"""SIGTERM to a real server: what runs is ended, what waits is written, the exit code is 0."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.server.persisting import Persisting
from tests.server.preloaded import Preloaded, Preloader
from tests.server.speaking import failure
from tests.server.test_killed import check_memories
from tests.warm import python

from memplus.mplus.model import MPlus
from memplus.store import MemoryStore

LONG = "The list goes on and on with what nobody asked for. " * 3000


@pytest.mark.long
def test_a_server_that_is_told_to_end_ends_what_runs_and_loses_nothing(
    tmp_path: Path, nano: MPlus, preloader: Preloader
) -> None:
    store = tmp_path / "store"
    with Preloaded(preloader, store) as server:
        server.start()
        server.until_ready()
        clients = [Persisting(one, server.url, one) for one in range(4)]
        for one in clients:
            one.start()
        time.sleep(1.5)
        assert server.end(signal.SIGTERM) == 0  # under load: streams, writes, chats
        for one in clients:
            one.stop.set()
        server.start()  # what was refused meanwhile is sent again
        for one in clients:
            one.join(60)
            assert not one.is_alive()
        assert server.end(signal.SIGTERM) == 0
        check_memories(store, nano, clients)


def test_a_second_signal_ends_a_server_at_once_and_leaves_no_half_text(
    tmp_path: Path, nano: MPlus, preloader: Preloader
) -> None:
    store = tmp_path / "store"
    with Preloaded(preloader, store) as server:
        server.start()
        server.until_ready()
        writing = threading.Thread(target=write_until_the_end, args=(server.url,))
        writing.start()
        until_written(server.url)
        begun = time.monotonic()
        assert server.end(signal.SIGTERM, signal.SIGTERM) == -signal.SIGTERM
        assert time.monotonic() - begun < 10
        writing.join(60)
    opened = MemoryStore(store)
    if "long" in opened:
        opened.verify("long")
        with opened.open("long", nano) as memory:
            assert not memory.writes  # it was not acknowledged: all of it or nothing


LOADING = """
import sys, time
from memplus.server.running import run
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore

def load():
    print("loading", flush=True)
    time.sleep(600)

services = Services(MemoryStore(sys.argv[1]), load, ServerSettings(port=0), model_name="nano")
run(services, lambda url: print(url, flush=True))
"""


@pytest.mark.long
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_still_loads_its_model_does_not_wait_for_it(
    tmp_path: Path, sign: signal.Signals
) -> None:
    command = [*python(), "-c", LOADING, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = sorted(server.stdout.readline().strip() for _ in range(2))
            assert said[1] == "loading"
            assert httpx.get(f"{said[0]}/ready").json() == {"status": "loading"}
            begun = time.monotonic()
            server.send_signal(sign)
            assert server.wait(30) == 0
            assert time.monotonic() - begun < 5
        finally:
            server.kill()
    assert not MemoryStore(tmp_path / "store").memories()


def write_until_the_end(url: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{url}/v1/memories/long/writes", json={"text": LONG}, timeout=60)


def until_written(url: str) -> None:
    """Wait until the write has begun."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if "memplus_requests_waiting 1" in httpx.get(f"{url}/metrics").text:
            return
        time.sleep(0.01)
    raise TimeoutError("no write has begun")


@pytest.mark.long
def test_who_is_not_done_in_time_is_told_and_the_server_ends_in_that_time(
    tmp_path: Path, nano: MPlus, preloader: Preloader
) -> None:
    store, told = tmp_path / "store", []

    def write() -> None:
        body = {"text": LONG}
        told.append(httpx.post(f"{server.url}/v1/memories/long/writes", json=body, timeout=60))

    with Preloaded(preloader, store, "--shutdown-timeout", "1") as server:
        server.start()
        server.until_ready()
        writing = threading.Thread(target=write)
        writing.start()
        until_written(server.url)
        begun = time.monotonic()
        assert server.end(signal.SIGTERM) == 0
        taken = time.monotonic() - begun
        writing.join(60)
    assert taken < 1 + 5  # not once more for each of what is closed
    (answer,) = told
    assert failure(answer, 503) == "draining"
    assert int(answer.headers["Retry-After"]) >= 1
    opened = MemoryStore(store)
    opened.verify("long")
    with opened.open("long", nano) as memory:
        assert not memory.writes
