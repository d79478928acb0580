"""A server that is killed under load, again and again: nothing that it acknowledged is lost."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from random import Random

import httpx
import pytest
from tests.server.persisting import MEMORIES, Persisting, Talk
from tests.server.preloaded import Preloaded, Preloader

from memplus.mplus.model import MPlus
from memplus.store import MemoryStore

CLIENTS = 4
WAIT = 60.0
LONGEST = 3.0


def end_again_and_again(
    preloader: Preloader, store: Path, ends: int, seed: int
) -> list[Persisting]:
    """Serve clients by one server after the other, each killed at a random moment."""
    random = Random(seed)
    with Preloaded(preloader, store) as server:
        clients = [Persisting(one, server.url, seed + one) for one in range(CLIENTS)]
        for one in clients:
            one.start()
        for _ in range(ends):
            server.start()
            if random.random() < 0.8:  # the others die while they start, or go on with what waits
                server.until_ready()
                until_told(clients, random.randrange(1, 30))
            time.sleep(random.uniform(0, 0.5))
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
        server.start()
        for one in clients:
            one.stop.set()
        for one in clients:
            one.join(WAIT)
            assert not one.is_alive()
        for talk in (talk for one in clients for talk in one.talks if talk.marks):
            check_conversation(server.url, talk)
        assert server.end(signal.SIGTERM) == 0
    return clients


def until_told(clients: list[Persisting], more: int) -> None:
    """Wait until so many things more are acknowledged, or for a while."""
    wanted = sum(one.count for one in clients) + more
    end = time.monotonic() + LONGEST
    while sum(one.count for one in clients) < wanted and time.monotonic() < end:
        time.sleep(0.005)


def check_conversation(url: str, talk: Talk) -> None:
    """What is kept of one holds each turn once; a whole one that comes again writes nothing."""
    if talk.kept:
        items = httpx.get(f"{url}/v1/conversations/{talk.id}/items?order=asc&limit=100").json()
        said = [one["content"][0]["text"] for one in items["data"] if one["role"] == "user"]
        assert [text.removeprefix("What is ").rstrip(".?") for text in said] == talk.marks
        return
    body = {"model": "nano", "messages": talk.turns[:-1], "max_tokens": 1, "memory": talk.memory}
    again = httpx.post(
        f"{url}/v1/chat/completions", json=body | {"conversation": talk.id}, timeout=WAIT
    )
    assert again.json()["memory"]["written"] == []


def check_memories(store: Path, model: MPlus, clients: list[Persisting]) -> Counter[str]:
    """Everything acknowledged is there once and in order, everything else at most once."""
    opened = MemoryStore(store)
    found: Counter[str] = Counter()
    for name in MEMORIES:
        opened.verify(name)
        with opened.open(name, model) as memory:
            text = "".join(one.text for one in memory.texts().values()) + memory.tail_text
        for client in clients:
            told = client.told[name]
            assert {mark: text.count(mark) for mark in told if text.count(mark) != 1} == {}
            assert sorted(told, key=text.index) == told
            tried = [text.count(mark) for mark in client.tried[name]]
            assert all(count <= 1 for count in tried)
            found += Counter(told=len(told), tried=len(tried), tried_and_there=sum(tried))
    with sqlite3.connect(store / "server.db") as database:
        assert database.execute("SELECT count(*) FROM intake").fetchone() == (0,)
    for client in clients:
        found += Counter(asked=client.asked, trials=client.trials, talks=len(client.talks))
        assert client.refusals == []
    return found


@pytest.mark.long
def test_nothing_acknowledged_is_lost_where_a_server_is_killed(
    tmp_path: Path, nano: MPlus, preloader: Preloader
) -> None:
    clients = end_again_and_again(preloader, tmp_path / "store", 3, seed=1)
    found = check_memories(tmp_path / "store", nano, clients)
    assert found["told"] > 10


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_where_a_server_is_killed_fifty_times(
    tmp_path: Path, nano: MPlus, preloader: Preloader
) -> None:
    clients = end_again_and_again(preloader, tmp_path / "store", 50, seed=100)
    found = check_memories(tmp_path / "store", nano, clients)
    print(dict(found))  # noqa: T201
    assert found["told"] > 100
    assert found["trials"] > 100
