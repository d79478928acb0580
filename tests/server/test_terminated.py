"""SIGTERM to a real server: what runs is ended, what waits is written, the exit code is 0."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.server.persisting import Persisting
from tests.server.preloaded import Preloaded, Preloader
from tests.server.speaking import failure
from tests.server.test_killed import check_memories

from memplus.mplus.model import MPlus
from memplus.store import MemoryStore

LONG = "The list goes on and on with what nobody asked for. " * 3000


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
