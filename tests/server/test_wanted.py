from __future__ import annotations

from pathlib import Path

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
