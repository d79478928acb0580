from __future__ import annotations

from pathlib import Path

import pytest

from memplus.server.database import ServerDatabase
from memplus.server.wanted import SCHEMA, Wanted


def test_what_one_server_asks_for_another_sees_until_it_is_taken_back(tmp_path: Path) -> None:
    databases = [ServerDatabase(tmp_path, SCHEMA) for _ in range(2)]
    mine, theirs = (Wanted(one) for one in databases)
    mine.ask("acme/notes")
    mine.ask("acme/notes")
    theirs.ask("b")
    assert mine.all() == theirs.all() == ["acme/notes", "b"]
    theirs.take_back("acme/notes")
    theirs.take_back("never asked for")
    assert mine.all() == ["b"]
    for database in databases:
        database.close()


def test_what_nobody_asks_for_again_stands_there_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process may have been killed."""
    database, now = ServerDatabase(tmp_path, SCHEMA), [1000.0]
    monkeypatch.setattr(database.clock, "now", lambda: now[0])
    wanted = Wanted(database)
    wanted.ask("left")
    wanted.ask("waits")
    now[0] += 50
    wanted.ask("waits")
    assert wanted.all() == ["left", "waits"]
    now[0] += 50
    assert wanted.all() == ["waits"]
    assert len(database.rows("SELECT stored FROM wanted")) == 1
    now[0] += 100
    assert wanted.all() == []
    database.close()


def test_what_an_earlier_release_left_goes(tmp_path: Path) -> None:
    old = "CREATE TABLE wanted (stored TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;"
    database = ServerDatabase(tmp_path, f"{old} INSERT INTO wanted VALUES ('left');")
    wanted = Wanted(database)
    assert wanted.all() == []
    wanted.ask("a")
    assert wanted.all() == ["a"]
    database.close()
