"""The machine's clock set years ahead and back again: nobody is locked out, nothing is lost."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.clocks import set_clock
from tests.server.serving import Served, serving
from tests.server.talking import client_of, held, told, user

from memplus.mplus.model import MPlus
from memplus.server import clock as module
from memplus.server.clock import SCHEMA, Clock
from memplus.server.database import ServerDatabase
from memplus.server.principals import Principal
from memplus.server.rates import Rates
from memplus.server.settings import ServerSettings

YEARS = 20 * 365 * 86_400.0
DAY = 86_400.0


class Day:
    """What the machine's clock says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real = time.time
        set_clock(monkeypatch, lambda: real() + self.ahead)


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Day:
    return Day(monkeypatch)


# The server's own clock ---------------------------------------------------------------------------


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:")
    made.executescript(SCHEMA)
    yield made
    made.close()


def restarted(connection: sqlite3.Connection) -> float:
    return Clock(connection).now()


def test_it_begins_as_the_day_and_goes_on_whatever_the_day_becomes(
    connection: sqlite3.Connection, day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = [100.0]
    monkeypatch.setattr(module, "steady", lambda: steady[0])
    clock, begun = Clock(connection), time.time()
    assert clock.now() == pytest.approx(begun, abs=1)
    for ahead in (YEARS, -YEARS):
        day.ahead = ahead
        steady[0] += 5
    assert clock.now() == pytest.approx(begun + 10, abs=1)
    (lived,) = connection.execute("SELECT lived()").fetchone()
    assert lived == clock.now()


@pytest.mark.parametrize(
    ("passed", "lived"), [(3600.0, 3600.0), (YEARS, 7 * DAY), (-YEARS, 0.0), (3 * DAY, 3 * DAY)]
)
def test_a_pause_makes_things_older_by_a_week_at_most(
    connection: sqlite3.Connection, day: Day, passed: float, lived: float
) -> None:
    clock = Clock(connection)
    clock.keep(connection)
    before = clock.now()
    day.ahead = passed
    assert restarted(connection) == pytest.approx(before + lived, abs=1)


def test_restarts_under_a_clock_that_is_ahead_cost_one_week_together(
    connection: sqlite3.Connection, day: Day
) -> None:
    begun = restarted(connection)
    Clock(connection).keep(connection)
    for day.ahead in (YEARS, YEARS, YEARS, 0.0, 0.0):
        Clock(connection).keep(connection)
    assert restarted(connection) == pytest.approx(begun + 7 * DAY, abs=1)


def test_it_is_noted_once_a_minute_and_when_the_file_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = [100.0]
    monkeypatch.setattr(module, "steady", lambda: steady[0])
    database = ServerDatabase(tmp_path, "CREATE TABLE IF NOT EXISTS t (a);")

    def noted() -> float:
        with database.transaction():
            pass
        return float(database.row("SELECT lived FROM lived")["lived"])

    first = noted()
    steady[0] += 59
    assert noted() == first
    steady[0] += 1
    assert noted() == first + 60
    steady[0] += 10
    database.close()
    database = ServerDatabase(tmp_path, "")
    assert float(database.row("SELECT lived FROM lived")["lived"]) == first + 70
    database.close()


# What it is for -----------------------------------------------------------------------------------


@pytest.fixture
def clients(served: Served) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(served, stack)


class Clients:
    """Clients that are closed at the end of a test."""

    def __init__(self, served: Served, stack: ExitStack) -> None:
        self._served = served
        self._stack = stack

    def http(self, key: str) -> httpx.Client:
        return self._stack.enter_context(self._served.client(key))

    def stock(self, key: str) -> openai.OpenAI:
        return self._stack.enter_context(client_of(self._served, key))


@pytest.fixture
def served(tmp_path: Path, nano: MPlus, day: Day) -> Iterator[Served]:
    with serving(tmp_path, nano, keys=True, stored_responses=3) as running:
        yield running


def test_keys_are_what_they_were(served: Served, clients: Clients, day: Day) -> None:
    admin, ended = served.key(scopes=("admin",)), served.key()

    def status(key: str) -> int:
        return clients.http(key).get("/v1/memories").status_code

    made = [admin]
    for day.ahead in (0.0, YEARS, 0.0):
        made.append(served.key())
        assert [status(key) for key in made] == [200] * len(made)
        if day.ahead:
            served.services.keys.revoke("k2")
    assert status(ended) == 401  # what was revoked stays so
    names = [one["name"] for one in clients.http(admin).get("/v1/keys").json()["data"]]
    assert sorted(names) == ["first", "k1", "k2", "k3", "k4", "k5"]


def test_a_clock_that_goes_ahead_and_back_locks_no_key_out(day: Day) -> None:
    settings = ServerSettings(requests_per_minute=2, tokens_per_minute=10)
    rates, ann = Rates(settings), Principal(key="a")
    for day.ahead in (0.0, YEARS, 0.0, YEARS, 0.0):
        for _ in range(2):
            rates.enter(ann)
            headers = rates.headers(ann)
            for what in ("requests", "tokens"):
                assert float(headers[f"x-ratelimit-reset-{what}"].rstrip("s")) <= 60
    rates, day.ahead = Rates(settings), YEARS
    rates.enter(ann)
    day.ahead = 0.0  # while that request is answered
    rates.spend(ann, 100)
    assert float(rates.headers(ann)["x-ratelimit-reset-tokens"].rstrip("s")) <= 60
    rates.enter(ann)


def kept(served: Served, key: str, response: str) -> bool:
    with served.client(key) as client:
        return client.get(f"/v1/responses/{response}").status_code == 200


def test_stored_responses_conversations_and_turns_stay(
    served: Served, clients: Clients, day: Day
) -> None:
    key = served.key()
    client = clients.stock(key)
    conversation = client.conversations.create(items=[user("Hello.")], extra_body={"memory": "ann"})
    said: dict[str, Any] = {"model": "nano", "extra_body": {"memory": "ann"}}
    first = client.responses.create(input="The gate is red.", **said).id
    for day.ahead in (YEARS, 0.0):
        served.services.ledger.prune()
        assert kept(served, key, first)
        assert client.conversations.retrieve(conversation.id)
        again = client.chat.completions.create(messages=[user("The gate is red.")], **said)
        assert told(again)["written"] == []
    assert held(served, "ann").count("gate") == 1


def test_a_conversation_that_is_used_today_stays_beside_those_of_the_years_ahead(
    served: Served, clients: Clients, day: Day
) -> None:
    client = clients.stock(served.key())
    day.ahead = YEARS
    for _ in range(3):
        client.conversations.create()
    day.ahead = 0.0
    newest = client.conversations.create(items=[user("Hello.")])
    assert client.conversations.retrieve(newest.id).id == newest.id
    assert len(client.conversations.items.list(newest.id).data) == 1


def write(client: httpx.Client, text: str, **headers: str) -> dict[str, Any]:
    answer = client.post("/v1/memories/ann/writes", json={"text": text}, headers=headers)
    assert answer.status_code == 201
    return dict(answer.json())


def test_repeated_writes_are_one_and_later_ones_are_written(
    served: Served, clients: Clients, day: Day
) -> None:
    client = clients.http(served.key())
    retry = {"x-stainless-retry-count": "1"}
    write(client, " One.", **{"Idempotency-Key": "k"})
    write(client, " Two.")
    day.ahead = YEARS
    assert write(client, " One.", **{"Idempotency-Key": "k"})["repeated"]
    assert write(client, " Two.", **retry)["repeated"]
    write(client, " Three.")
    day.ahead = 0.0
    assert write(client, " Three.", **retry)["repeated"]
    assert write(client, " One.", **{"Idempotency-Key": "k"})["repeated"]
    clock = served.services.database.clock
    clock._offset += 601  # ten minutes later it is another text, whatever was ahead of what
    assert not write(client, " Three.", **retry)["repeated"]
    assert held(served, "ann") == " One. Two. Three. Three."


def test_a_repeated_request_gets_the_answer_that_it_had(
    served: Served, clients: Clients, day: Day
) -> None:
    client = clients.stock(served.key())
    once: dict[str, Any] = {
        "model": "nano",
        "user": "ann",
        "extra_headers": {"Idempotency-Key": "k"},
    }
    first = client.chat.completions.create(messages=[user("The gate is red.")], **once)
    for day.ahead in (YEARS, 0.0):
        served.services.ledger.prune()
        again = client.chat.completions.create(messages=[user("The gate is red.")], **once)
        assert again.id == first.id


def test_memories_are_open_as_long_as_before_and_all_requests_are_listed(
    served: Served, clients: Clients, day: Day
) -> None:
    key = served.key(scopes=("admin",))
    client = clients.http(key)
    for count, day.ahead in enumerate((0.0, YEARS, 0.0)):
        write(client, f" Text {count}.")
        assert served.services.vault.opened == 1
        assert client.get("/v1/memories/ann").json()["writes"] >= 0
    ids = [one["id"] for one in client.get("/v1/requests").json()["data"]]
    assert len(ids) == len(set(ids)) == 6


@pytest.mark.long
def test_a_server_that_starts_years_ahead_and_again_today_keeps_everything(
    tmp_path: Path, nano: MPlus, day: Day
) -> None:
    said: dict[str, Any] = {"model": "nano", "extra_body": {"memory": "ann"}}
    response = ""
    for day.ahead in (0.0, YEARS, 0.0, -YEARS, 0.0):
        with serving(tmp_path, nano) as served, client_of(served) as client:
            if not response:
                response = client.responses.create(input="The gate is red.", **said).id
            served.services.ledger.prune()
            assert kept(served, "", response)
            again = client.chat.completions.create(messages=[user("The gate is red.")], **said)
            assert told(again)["written"] == []
            assert held(served, "ann").count("gate") == 1
