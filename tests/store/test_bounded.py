"""SQLite kept within bounds: work, rows and schemas of a file of unknown origin."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from memplus.errors import CorruptMemoryError
from memplus.store.bounded import Budget, bound, require_schema, schema_of

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
COUNTED = ENDLESS.replace("FROM n)", "FROM n WHERE i < 50000)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "d"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a TEXT)")
    return path


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        bound(connection)
        yield connection


def test_work_that_the_size_does_not_explain_is_stopped(
    connection: sqlite3.Connection, path: Path
) -> None:
    budget = Budget(connection, path)
    begun = time.monotonic()
    with pytest.raises(CorruptMemoryError, match="more work than its size"), budget.watched():
        connection.execute(ENDLESS).fetchall()
    assert time.monotonic() - begun < 5
    for _ in range(20):  # each statement has a budget of its own
        budget.renew()
        with budget.watched():
            assert connection.execute(COUNTED).fetchall() == [(50000,)]


def test_a_larger_file_has_a_larger_budget(connection: sqlite3.Connection, path: Path) -> None:
    budget = Budget(connection, path)
    small = budget._allowed()
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 50_000,)] * 20)
    assert budget._allowed() > small + 300


def test_ctrl_c_is_heard_while_sqlite_works(
    connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memplus.store.bounded._LEAST_STEPS", 10**12)
    budget = Budget(connection, path)
    pressed = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    pressed.start()
    with pytest.raises(KeyboardInterrupt), budget.watched():
        connection.execute(ENDLESS).fetchall()
    pressed.join()


def test_other_errors_stay_what_they_are(connection: sqlite3.Connection, path: Path) -> None:
    budget = Budget(connection, path)
    with pytest.raises(sqlite3.OperationalError, match="no such table"), budget.watched():
        connection.execute("SELECT * FROM elsewhere")


def test_rows_and_statements_have_a_longest(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.DataError):
        connection.execute("INSERT INTO t VALUES (?)", ("x" * (1 << 27),))
    with pytest.raises(sqlite3.DataError):
        connection.execute("SELECT 1 " + " " * 20_000)
    with pytest.raises(sqlite3.OperationalError, match="too many attached"):
        connection.execute("ATTACH ':memory:' AS other")


def test_a_schema_is_compared_to_the_letter(connection: sqlite3.Connection, path: Path) -> None:
    expected = schema_of(connection)
    require_schema(connection, expected, path)
    for statement, named in (
        ("CREATE VIEW v AS SELECT 1", "view 'v' does not belong there"),
        ("DROP VIEW v", ""),
        ("CREATE INDEX i ON t (lower(a))", "index 'i' of its table 't' does not belong there"),
        ("DROP INDEX i", ""),
        ("ALTER TABLE t ADD COLUMN b", "table 't' is not as it should be"),
        ("DROP TABLE t", "table 't' is missing"),
    ):
        connection.execute(statement)
        if not named:
            require_schema(connection, expected, path)
            continue
        with pytest.raises(CorruptMemoryError, match=named):
            require_schema(connection, expected, path)


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "e")) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16'")
        connection.execute("CREATE TABLE t (a TEXT)")
        with pytest.raises(CorruptMemoryError, match="encoding is UTF-16"):
            require_schema(connection, schema_of(connection), tmp_path / "e")
