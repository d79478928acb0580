"""SQLite's refusals get the system's reason, damage stays damage, readers change nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

import pytest
from tests.store.mounts import fill, make_read_only, small_disk

from memplus.errors import CorruptMemoryError
from memplus.store.database import Database, companions, connect, refusals_named


def probe(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT a FROM t LIMIT 1").fetchall()


def made(path: Path) -> Path:
    with contextlib.closing(connect(path, "mode=rwc")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(50)])
    return path


@contextlib.contextmanager
def opened(path: Path, *, writable: bool = False) -> Database:  # type: ignore[misc]
    database = Database(path, probe, writable=writable)
    with contextlib.closing(database):
        yield database


def test_a_reader_sees_a_writers_changes_and_makes_none(tmp_path: Path) -> None:
    path = made(tmp_path / "a")
    with opened(path, writable=True) as writer, opened(path) as reader:
        writer.change("INSERT INTO t VALUES (?)", (99,))
        assert [a for (a,) in reader.rows("SELECT a FROM t WHERE a > ?", (48,))] == [49, 99]
        with pytest.raises(OSError, match=r"ead-?only") as caught:
            reader.change("DELETE FROM t")
        assert caught.value.errno == errno.EROFS


def test_a_lock_held_too_long_is_a_refusal(tmp_path: Path) -> None:
    path = made(tmp_path / "a")
    with opened(path, writable=True) as one, opened(path, writable=True) as two:
        two.connection.execute("PRAGMA busy_timeout = 10")
        one.change("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match="locked") as caught:
            two.change("BEGIN IMMEDIATE")
        assert caught.value.errno == errno.EAGAIN


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with small_disk("512k") as disk:
        path = made(disk / "a")
        with opened(path, writable=True) as database:
            fill(disk)
            with pytest.raises(OSError, match="No space left") as caught:
                database.change("INSERT INTO t VALUES (zeroblob(400000))")
            assert caught.value.errno == errno.ENOSPC
        fill(disk)  # closing gave some of it back
        with pytest.raises(OSError, match="No space left"), opened(path, writable=True):
            pass
        with opened(path) as reader:
            assert len(list(reader.rows("SELECT a FROM t"))) == 50


def test_a_closed_database_is_read_where_nothing_can_be_made_beside_it() -> None:
    with small_disk() as disk:
        path = made(disk / "a")
        make_read_only(disk)
        with opened(path) as reader:
            assert len(list(reader.rows("SELECT a FROM t"))) == 50
            assert [one.name for one in disk.iterdir()] == ["a"]
        with pytest.raises(OSError, match=r"ead-only|open"), opened(path, writable=True):
            pass


def test_what_is_wrong_with_the_file_is_damage(tmp_path: Path) -> None:
    path = made(tmp_path / "a")
    content = path.read_bytes()
    for damaged in (b"no database at all" * 300, content[:3000], content.replace(b"(a)", b"(b)")):
        for name in companions("a"):
            (tmp_path / name).unlink(missing_ok=True)
        path.write_bytes(damaged)
        with pytest.raises(CorruptMemoryError, match=str(path)), opened(path) as reader:
            list(reader.rows("SELECT a FROM t"))


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    made(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for name in ("missing", "link"):
        with pytest.raises(FileNotFoundError):
            Database(tmp_path / name, probe, writable=False)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_CANTOPEN, errno.EACCES),
        (sqlite3.SQLITE_IOERR_READ, errno.EIO),
        (sqlite3.SQLITE_FULL, errno.ENOSPC),
        (sqlite3.SQLITE_READONLY_DIRECTORY, errno.EROFS),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, errno.EAGAIN),
    ],
)
def test_every_kind_of_refusal_has_the_systems_number(
    tmp_path: Path, code: int, expected: int
) -> None:
    error = sqlite3.OperationalError("refused")
    error.sqlite_errorcode = code
    with pytest.raises(OSError) as caught, refusals_named(tmp_path / "a"):  # noqa: PT011
        raise error
    assert caught.value.errno == expected
    assert caught.value.filename == str(tmp_path / "a")


def test_nothing_stays_open(tmp_path: Path) -> None:
    path = made(tmp_path / "a")
    before = len(os.listdir("/proc/self/fd"))
    for writable in (False, True):
        with opened(path, writable=writable) as database:
            list(database.rows("SELECT a FROM t"))
    assert len(os.listdir("/proc/self/fd")) == before
