from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest
from tests.warm import python

from memplus.errors import CorruptMemoryError, UsageError
from memplus.server.database import ServerDatabase, database_folder
from memplus.store import Lease, MemoryStore

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;"
KILLED = """
import os, sys
from pathlib import Path
from memplus.server.database import ServerDatabase
from memplus.store import Lease, MemoryStore
database = ServerDatabase(Path(sys.argv[1]), "")
with database.transaction() as run:
    run.execute("INSERT INTO notes (text) VALUES ('kept')")
with database.transaction() as run:
    run.execute("INSERT INTO notes (text) VALUES ('lost')")
    os.kill(os.getpid(), 9)
"""


def texts(database: ServerDatabase) -> list[str]:
    return [row["text"] for row in database.rows("SELECT text FROM notes ORDER BY id")]


def test_a_transaction_is_whole_or_not_there(tmp_path: Path) -> None:
    database = ServerDatabase(tmp_path, SCHEMA)
    with pytest.raises(ZeroDivisionError), database.transaction() as run:
        run.execute("INSERT INTO notes (text) VALUES ('a')")
        raise ZeroDivisionError
    assert texts(database) == []
    subprocess.run([*python(), "-c", KILLED, str(tmp_path)], check=False)
    assert texts(database) == ["kept"]
    database.close()


def test_threads_take_turns(tmp_path: Path) -> None:
    database = ServerDatabase(tmp_path, SCHEMA)

    def add(name: str) -> None:
        for number in range(20):
            with database.transaction() as run:
                run.execute("INSERT INTO notes (text) VALUES (?)", (f"{name}{number}",))
                run.execute("INSERT INTO notes (text) VALUES (?)", (f"{name}{number}",))

    threads = [threading.Thread(target=add, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = texts(database)
    assert len(found) == 120
    assert found[::2] == found[1::2], "no transaction stands inside another"
    database.close()


def test_what_is_deleted_is_not_left_in_the_file(tmp_path: Path) -> None:
    database = ServerDatabase(tmp_path, SCHEMA)
    with database.transaction() as run:
        run.execute("INSERT INTO notes (text) VALUES ('a secret of Anna')")
    with database.transaction() as run:
        run.execute("DELETE FROM notes")
    database.close()
    assert all(b"secret of Anna" not in file.read_bytes() for file in tmp_path.iterdir())


def test_another_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.db").write_bytes(b"no database at all, " * 100)
    with pytest.raises(CorruptMemoryError):
        ServerDatabase(tmp_path, SCHEMA)


ADDING = """
import sys
from pathlib import Path
from memplus.server.database import ServerDatabase
from memplus.store import Lease, MemoryStore
database = ServerDatabase(Path(sys.argv[1]), "")
for number in range(10):
    with database.transaction() as run:
        (count,) = run.execute("SELECT count(*) FROM notes").fetchone()
        run.execute("INSERT INTO notes VALUES (?, ?)", (count, sys.argv[2]))
"""


def test_where_machines_share_the_directory_there_is_no_log_that_needs_their_memory(
    tmp_path: Path,
) -> None:
    MemoryStore(tmp_path)
    local = ServerDatabase(tmp_path, SCHEMA)
    with local.transaction() as run:
        run.execute("INSERT INTO notes VALUES (0, 'before')")
    assert (tmp_path / "server.db-wal").exists()
    MemoryStore(tmp_path, lease=Lease("a"))
    with pytest.raises(UsageError, match="open"):
        ServerDatabase(tmp_path, SCHEMA)
    local.close()
    database = ServerDatabase(tmp_path, SCHEMA)
    (row,) = database.rows("PRAGMA journal_mode")
    assert row[0] == "delete"
    command = [*python(), "-c", ADDING, str(tmp_path)]
    adding = [subprocess.Popen([*command, name]) for name in "ab"]
    while any(one.poll() is None for one in adding):
        assert len(texts(database)) >= 1
        time.sleep(0.01)
    assert [one.returncode for one in adding] == [0, 0]
    assert len(texts(database)) == 21
    assert not (tmp_path / "server.db-wal").exists()
    database.close()


def test_of_several_directories_the_one_that_has_the_file_keeps_it(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for place in (one, two):
        MemoryStore(place)
    assert database_folder([one, two]) == one
    ServerDatabase(two, SCHEMA).close()
    assert database_folder([one, two]) == database_folder([two, one]) == two
    ServerDatabase(one, SCHEMA).close()
    with pytest.raises(UsageError, match="Only one"):
        database_folder([one, two])
