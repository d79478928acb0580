"""The journal: what was written, when, and what it said, in SQLite.

It tells what rows came from; it does not decide what exists. Rows of writes and commits beyond
those that the manifest counts are ignored, and the next commit takes their place.
"""

from __future__ import annotations

import array
import contextlib
import json
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from memplus.errors import CorruptMemoryError
from memplus.memory.records import Passage, WriteRecord
from memplus.memory.written_text import WrittenText
from memplus.store.database import Database, connect, refusals_named
from memplus.store.disk import Disk

__all__ = ["Commit", "Journal", "Place", "now"]

_PROBE = "SELECT number FROM commits LIMIT 1"
_SCHEMA = """
CREATE TABLE writes (
    id INTEGER PRIMARY KEY, commit_number INTEGER NOT NULL, source TEXT NOT NULL,
    start INTEGER NOT NULL, tokens INTEGER NOT NULL, first_char INTEGER NOT NULL,
    time REAL NOT NULL, text TEXT NOT NULL, ids BLOB NOT NULL, crc INTEGER NOT NULL
) STRICT;
CREATE INDEX writes_by_source ON writes (source, id);
CREATE TABLE commits (
    number INTEGER PRIMARY KEY, time REAL NOT NULL, writes INTEGER NOT NULL,
    tokens INTEGER NOT NULL, waiting INTEGER NOT NULL, what TEXT NOT NULL,
    snapshot TEXT NOT NULL, log TEXT NOT NULL, length INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class Place:
    """Where the state after a commit is found."""

    snapshot: str
    log: str
    """Empty where the snapshot is that state."""
    length: int
    """Bytes of the log that lead to it."""


@dataclass(frozen=True)
class Commit:
    """One entry of a memory's history."""

    number: int
    time: float
    writes: int
    """Id of the last write then."""
    tokens: int
    """Text tokens written until then."""
    waiting: int
    """Tokens in the tail then."""
    what: str
    """``create``, ``write``, ``forget``, ``rollback``, ..."""
    place: Place


class Journal:
    """One database.

    Args:
        path: the file.
        disk: is told before each change.
        writable: whether it may be changed; a reader changes nothing.

    Raises:
        FileNotFoundError: there is none.
        OSError: the system refused; every method may raise it.
        CorruptMemoryError: it is damaged.
    """

    def __init__(self, path: Path, disk: Disk, *, writable: bool) -> None:
        self.path = path
        self.disk = disk
        self._database = Database(path, _PROBE, writable=writable)

    @classmethod
    def create(cls, path: Path, disk: Disk) -> None:
        """A new, empty database."""
        disk.step("create", path)
        with refusals_named(path), contextlib.closing(connect(path, "mode=rwc")) as connection:
            path.chmod(0o600)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Done with it."""
        self._database.close()

    # Writing ------------------------------------------------------------------------------------

    def add(
        self, commit: Commit, written: Sequence[tuple[WriteRecord, Passage]], after: int
    ) -> None:
        """Add a commit and its writes; what was beyond the last one goes.

        Args:
            commit: the new one.
            written: its writes.
            after: id of the last write before them.
        """
        now = commit.time
        with self._transaction() as run:
            run("DELETE FROM writes WHERE id > ?", (after,))
            run("DELETE FROM commits WHERE number >= ?", (commit.number,))
            chars: dict[str, int] = {}
            for record, said in written:
                if record.source not in chars:
                    chars[record.source] = self._chars(record.source)
                first = chars[record.source]
                chars[record.source] += len(said.text)
                ids = array.array("i", said.tokens).tobytes()
                row = (record.id, record.source, record.start, record.tokens, first, now,
                       said.text, ids)  # fmt: skip
                values = (*row[:1], commit.number, *row[1:], _crc(row))
                run("INSERT INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            place = commit.place
            entry = (commit.number, now, commit.writes, commit.tokens, commit.waiting, commit.what,
                     place.snapshot, place.log, place.length)  # fmt: skip
            marks = "?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
            run(f"INSERT INTO commits VALUES ({marks})", (*entry, _crc((*entry, b""))))

    def _chars(self, source: str) -> int:
        query = "SELECT first_char, text FROM writes WHERE source = ? ORDER BY id DESC LIMIT 1"
        # Counted here: SQL's own length ends at a NUL.
        return sum(first + len(text) for first, text in self._database.rows(query, (source,)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Callable[[str, tuple[object, ...]], None]]:
        connection = self._database.connection

        def run(statement: str, values: tuple[object, ...]) -> None:
            self.disk.step("journal write", self.path)
            connection.execute(statement, values)

        with refusals_named(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield run
                self.disk.step("journal commit", self.path)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def copy(self, path: Path, *, writes: int, commits: int, without: Iterable[int] = ()) -> None:
        """A new database with the rows up to a write and a commit, and without some writes.

        Nothing of the others is left in it, not even in free pages.
        """
        gone = set(without)
        Journal.create(path, self.disk)
        with refusals_named(path), contextlib.closing(connect(path, "mode=rw")) as target:
            target.execute("BEGIN")
            self.disk.step("journal write", path)
            rows = self._database.rows("SELECT * FROM writes WHERE id <= ?", (writes,))
            kept = (row for row in rows if row[0] not in gone)
            target.executemany("INSERT INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", kept)
            found = self._database.rows("SELECT * FROM commits WHERE number <= ?", (commits,))
            target.executemany("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", found)
            self.disk.step("journal commit", path)
            target.execute("COMMIT")

    # Reading ------------------------------------------------------------------------------------

    def texts(self, ids: Iterable[int], upto: int) -> dict[int, WrittenText]:
        """Writes by id; those that are not there or beyond ``upto`` are left out.

        Raises:
            CorruptMemoryError: a checksum differs.
        """
        found: dict[int, WrittenText] = {}
        for one in ids:
            if one <= upto:
                rows = self._select("id = ?", (one,))
                found |= {row.id: row for row in rows}
        return found

    def all_texts(self, upto: int) -> Iterator[WrittenText]:
        """Every write in order."""
        return self._select("id <= ?", (upto,))

    def _select(self, where: str, values: tuple[object, ...]) -> Iterator[WrittenText]:
        columns = "id, source, start, tokens, first_char, time, text, ids, crc"
        query = f"SELECT {columns} FROM writes WHERE {where} ORDER BY id"
        for *row, crc in self._database.rows(query, values):
            if _crc(row) != crc:
                raise CorruptMemoryError(self.path, reason=f"write {row[0]} was changed")
            number, source, start, tokens, first, when, text, blob = row
            ids = array.array("i")
            ids.frombytes(blob)
            yield WrittenText(number, source, start, tokens, first, text, tuple(ids), when)

    def commits(self, upto: int) -> list[Commit]:
        """The commits up to a number, oldest first."""
        query = "SELECT * FROM commits WHERE number <= ? ORDER BY number"
        found: list[Commit] = []
        for *row, crc in self._database.rows(query, (upto,)):
            if _crc((*row, b"")) != crc:
                raise CorruptMemoryError(self.path, reason=f"commit {row[0]} was changed")
            number, when, writes, tokens, waiting, what, *place = row
            found.append(Commit(number, when, writes, tokens, waiting, what, Place(*place)))
        return found

    def check(self, upto: int) -> None:
        """Read and check all of it.

        Raises:
            CorruptMemoryError: something was changed.
        """
        verdict = [str(line) for (line,) in self._database.rows("PRAGMA integrity_check")]
        if verdict != ["ok"]:
            raise CorruptMemoryError(self.path, reason=verdict[0])
        for _ in self.all_texts(upto):
            pass
        self.commits(sys.maxsize)


def _crc(row: Sequence[object]) -> int:
    *values, content = row
    assert isinstance(content, bytes)
    return zlib.crc32(content, zlib.crc32(json.dumps(values).encode()))


def now() -> float:
    """Seconds since 1970, as the journal notes them."""
    return time.time()
