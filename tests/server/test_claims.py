"""A request under a key is claimed by one server, and its claim goes with it, whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.server.test_ledger import ANN, answers, locks, made
from tests.warm import python

from memplus.errors import StorageError
from memplus.server.database import ServerDatabase
from memplus.server.principals import Principal

CLAIMING = """
import asyncio, os, signal, sys
from pathlib import Path
from memplus.server.database import ServerDatabase
from memplus.server.ledger import SCHEMA, Ledger
from memplus.server.principals import Principal
from memplus.server.settings import ServerSettings

async def run():
    ledger = Ledger(ServerDatabase(Path(sys.argv[1]), SCHEMA), ServerSettings())
    async with ledger.once(Principal("acme"), "k", {"messages": ["a"]}):
        print("claimed", flush=True)
        signal.pause()  # it ends by the signal alone, not as its pipes are closed

asyncio.run(run())
"""


@pytest.mark.long
def test_the_claims_of_a_server_that_was_killed_go_with_it(database: ServerDatabase) -> None:
    ledger, request = made(database), {"messages": ["a"]}
    who = Principal("acme")
    command = [*python(), "-c", CLAIMING, str(database.path.parent)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as server:  # type: ignore[call-overload]
        try:
            assert server.stdout.readline() == "claimed\n"
            assert asyncio.run(answers(ledger, request, who)) == "idempotency_busy"
        finally:
            server.kill()
    end = time.monotonic() + 30
    while asyncio.run(answers(ledger, request, who)) != {}:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert database.rows("SELECT * FROM claims") == []
    assert len(locks(database)) == 1
    ledger.close()


def test_a_claim_that_could_not_be_kept_or_given_up_is_in_nobodys_way(
    database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, request = made(database), {"messages": ["a"]}

    @contextlib.contextmanager
    def refusing() -> Iterator[sqlite3.Connection]:
        raise StorageError(database.path, reason="the disk is full")
        yield

    async def run() -> None:
        async with ledger.once(ANN, "k", request):
            monkeypatch.setattr(database, "transaction", refusing)
        with pytest.raises(StorageError):
            async with ledger.once(ANN, "k", request):
                pass
        monkeypatch.undo()
        assert len(database.rows("SELECT * FROM claims")) == 1
        assert await answers(ledger, request) == {}
        assert database.rows("SELECT * FROM claims") == []

    asyncio.run(run())
    ledger.close()


def test_who_goes_away_while_a_request_is_claimed_leaves_no_claim(database: ServerDatabase) -> None:
    ledger, request = made(database), {"messages": ["a"]}

    async def run() -> None:
        with database.transaction():  # in this thread, so the one that claims waits
            claiming = asyncio.create_task(answers(ledger, request))
            await asyncio.sleep(0.1)
            claiming.cancel()
            await asyncio.sleep(0.1)
        with pytest.raises(asyncio.CancelledError):
            await claiming
        end = time.monotonic() + 10
        while (found := await answers(ledger, request)) != {}:
            assert found == "idempotency_busy"
            assert time.monotonic() < end
            await asyncio.sleep(0.01)

    asyncio.run(run())
    ledger.close()
