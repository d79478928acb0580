"""The journal: what was written, when, and what it said, in SQLite.

It tells what rows came from; it does not decide what exists. Rows of writes and commits beyond
those that the manifest counts are ignored, and the next commit takes their place. A row's checksum
covers each of its columns; version 1 left out in which commit a write was made. Version 3 finds a
commit by what it is called. An older journal is read as it lies, and its first commit makes it new.
"""

from __future__ import annotations

import array
import contextlib
import json
import random
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from memplus.errors import CorruptMemoryError, MemoryVersionError
from memplus.memory.checks import LATEST, Count, Fields, Text, Time, checked, require
from memplus.memory.records import Passage, WriteRecord
from memplus.memory.written_text import WrittenText
from memplus.store.bounded import Schema, require_schema, schema_of
from memplus.store.database import Database, connect, refusals_named
from memplus.store.disk import Disk
from memplus.store.manifest import FILE_NAME
from memplus.store.written_rows import NOTHING, Erased, Sum, WriteRow

__all__ = ["VERSION", "Commit", "Journal", "Place", "born", "now"]

VERSION = 3
"""Kept as SQLite's ``user_version``, which version 1 left at 0."""
_TABLES = """
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
_BY_NAME = "CREATE INDEX commits_by_what ON commits (what, number)"
_SCHEMA = f"{_TABLES}{_BY_NAME};"
_BLOCK = 200
"""Names looked up in one query."""
_INT = array.array("i").itemsize
_WRITES = "INSERT INTO writes VALUES (?, ?, CAST(? AS TEXT), ?, ?, ?, ?, CAST(? AS TEXT), ?, ?)"
_COMMITS = "INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_File = Annotated[str, Field(pattern=FILE_NAME)]


class _Commit(Fields):
    """A row of ``commits``."""

    number: Count
    time: Time
    writes: Count
    tokens: Count
    waiting: Count
    what: Text
    snapshot: _File
    log: _File | Literal[""]
    length: Count
    crc: Sum


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
    """``create``, ``write``, ``write`` and a label, ``forget``, ``pack``."""
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
        self._database = Database(path, self._probe, writable=writable)

    def _probe(self, connection: sqlite3.Connection) -> None:
        """Know the schema before anything is read, then open every file that is needed."""
        connection.execute("BEGIN")  # a writer may make it new between the next two lines
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        self.version = int(version) or 1
        if not 1 <= self.version <= VERSION:
            raise MemoryVersionError(self.path, found=version, supported=VERSION)
        require_schema(connection, _expected_schema(self.version), self.path)
        connection.execute("SELECT number FROM commits LIMIT 1").fetchall()
        connection.execute("COMMIT")

    def _migrate(self, run: Callable[[str, tuple[object, ...]], None]) -> None:
        """Make it what this release writes, as part of a transaction."""
        for version in range(self.version, VERSION):
            MIGRATIONS[version](self, run)
        if self.version != VERSION:
            run(f"PRAGMA user_version = {VERSION}", ())

    @classmethod
    def create(cls, path: Path, disk: Disk, *, shared: bool = False) -> None:
        """A new, empty database.

        Args:
            path: the file.
            disk: is told.
            shared: for several machines, whose processes have no memory in common: without the log
                of changes that SQLite reads through such memory.
        """
        disk.step("create", path)
        with refusals_named(path), contextlib.closing(connect(path, "mode=rwc")) as connection:
            path.chmod(0o600)
            connection.execute(f"PRAGMA journal_mode = {'DELETE' if shared else 'WAL'}")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {VERSION}")

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
            self._migrate(run)
            run("DELETE FROM writes WHERE id > ?", (after,))
            run("DELETE FROM commits WHERE number >= ?", (commit.number,))
            chars: dict[str, int] = {}
            for record, said in written:
                if record.source not in chars:
                    chars[record.source] = self._chars(record.source)
                first = chars[record.source]
                chars[record.source] += len(said.text)
                ids = array.array("i", said.tokens).tobytes()
                row = (record.id, commit.number, record.source, record.start, record.tokens,
                       first, now, said.text, ids)  # fmt: skip
                run(_WRITES, _bound(row))
            place = commit.place
            entry = (commit.number, now, commit.writes, commit.tokens, commit.waiting, commit.what,
                     place.snapshot, place.log, place.length)  # fmt: skip
            run(_COMMITS, (*entry, _crc((*entry, b""))))
        self.version = VERSION

    def _chars(self, source: str) -> int:
        last = "id = (SELECT max(id) FROM writes WHERE source = CAST(? AS TEXT))"
        # Counted here: SQL's own length ends at a NUL.
        return sum(row.first_char + len(row.text) for row in self._writes(last, (_utf8(source),)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Callable[[str, tuple[object, ...]], None]]:
        def run(statement: str, values: tuple[object, ...]) -> None:
            self.disk.step("journal write", self.path)
            self._database.change(statement, values)

        self._database.change("BEGIN IMMEDIATE")
        try:
            yield run
            self.disk.step("journal commit", self.path)
            self._database.change("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.connection.execute("ROLLBACK")
            raise

    def copy(
        self,
        path: Path,
        *,
        writes: int,
        commits: int,
        without: Erased = NOTHING,
        logs: Mapping[str, str] = {},
        shared: bool = False,
    ) -> None:
        """A new database with the rows up to a write and a commit, and without some writes.

        Nothing of the others is left in it, not even in free pages.

        Args:
            path: the new file.
            writes, commits: the last ones that it has.
            without: the writes that it lacks.
            logs: new names of logs, by the old ones.
            shared: see ``create``.
        """
        ends = "SELECT max(id) FROM writes WHERE id <= ? GROUP BY source"
        last = {int(number) for (number,) in self._database.rows(ends, (writes,))}
        Journal.create(path, self.disk, shared=shared)
        with refusals_named(path), contextlib.closing(connect(path, "mode=rw")) as target:
            target.execute("BEGIN")
            self.disk.step("journal write", path)
            with contextlib.closing(self._writes("id <= ?", (writes,))) as rows:
                kept = without.left(rows, last)
                target.executemany(_WRITES, (_bound(_values(row)[:-1]) for row in kept))
            with contextlib.closing(self._commits(commits)) as found:
                target.executemany(_COMMITS, (_in_another_log(row, logs) for row in found))
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
        for row in self._writes(where, values):
            if not row.tokens:
                continue  # only the place where a source goes on
            ids = array.array("i")
            ids.frombytes(row.ids)
            place = (row.id, row.source, row.start, row.tokens, row.first_char)
            yield WrittenText(*place, row.text, tuple(ids), row.time)

    def _writes(self, where: str, values: tuple[object, ...]) -> Generator[WriteRow]:
        """Rows in order, each checked."""
        query = f"SELECT * FROM writes WHERE {where} ORDER BY id"
        for found in self._database.rows(query, values):
            what = f"write {found[0]}"
            row = checked(
                WriteRow, dict(zip(WriteRow.model_fields, found, strict=True)), self.path, what
            )
            sums = [_crc(found[:-1])]
            if self.version == 1:  # another process may have migrated it meanwhile
                sums.append(_crc((found[0], *found[2:-1])))
            if row.crc not in sums:
                raise CorruptMemoryError(self.path, reason=f"{what} was changed")
            require(len(row.ids) % _INT == 0, self.path, f"{what}.ids", "are cut short")
            yield row

    def commits(self, upto: int) -> list[Commit]:
        """The commits up to a number, oldest first.

        Raises:
            CorruptMemoryError: one of them was changed.
        """
        found: list[Commit] = []
        for row in self._commits(upto):
            numbers = (row.number, row.time, row.writes, row.tokens, row.waiting)
            place = Place(row.snapshot, row.log, row.length)
            found.append(Commit(*numbers, row.what, place))
        return found

    def has_commit(self, what: str, upto: int) -> bool:
        """Whether one of the commits up to a number is called so.

        Raises:
            CorruptMemoryError: that one was changed.
        """
        with contextlib.closing(self._commits(upto, " AND what = ?", what)) as found:
            return any(True for _ in found)

    def named(self, what: Sequence[str], upto: int) -> set[str]:
        """Those of some names that commits up to a number have.

        Raises:
            CorruptMemoryError: one of these was changed.
        """
        found: set[str] = set()
        for start in range(0, len(what), _BLOCK):
            block = what[start : start + _BLOCK]
            which = f" AND what IN ({','.join('?' * len(block))})"
            with contextlib.closing(self._commits(upto, which, *block)) as rows:
                found |= {row.what for row in rows}
        return found

    def _commits(self, upto: int, which: str = "", *sought: str) -> Generator[_Commit]:
        query = f"SELECT * FROM commits WHERE number <= ?{which} ORDER BY number"
        for found in self._database.rows(query, (upto, *sought)):
            what = f"commit {found[0]}"
            values = dict(zip(_Commit.model_fields, found, strict=True))
            row = checked(_Commit, values, self.path, what)
            if row.crc != _crc((*found[:-1], b"")):
                raise CorruptMemoryError(self.path, reason=f"{what} was changed")
            yield row

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


def _values(row: Fields) -> tuple[Any, ...]:
    """The columns, in the order of the table."""
    return tuple(getattr(row, name) for name in type(row).model_fields)


def _in_another_log(commit: _Commit, logs: Mapping[str, str]) -> tuple[Any, ...]:
    """Its values where logs are called otherwise."""
    if commit.log not in logs:
        return _values(commit)
    values = _values(commit.model_copy(update={"log": logs[commit.log]}))[:-1]
    return (*values, _crc((*values, b"")))


def _bound(row: Sequence[Any]) -> tuple[object, ...]:
    """A row of ``writes`` as it is handed over, with its checksum: source and text as bytes."""
    texts = {index: _utf8(row[index]) for index in (2, 7)}
    return (*(texts.get(index, value) for index, value in enumerate(row)), _crc(row))


def _utf8(text: str) -> bytes:
    """As SQLite keeps text, also the names of files that are no UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def _crc(row: Sequence[object]) -> int:
    *values, content = row
    assert isinstance(content, bytes)
    return zlib.crc32(content, zlib.crc32(json.dumps(values).encode()))


def _sum_every_column(journal: Journal, run: Callable[[str, tuple[object, ...]], None]) -> None:
    """Version 1 to 2: the checksum of a write covers the number of its commit, too."""
    for row in list(journal._writes("id <= ?", (sys.maxsize,))):
        run("UPDATE writes SET crc = ? WHERE id = ?", (_crc(_values(row)[:-1]), row.id))


def _index_names(journal: Journal, run: Callable[[str, tuple[object, ...]], None]) -> None:
    """Version 2 to 3: a label is found without reading every commit."""
    run(_BY_NAME, ())


MIGRATIONS = {1: _sum_every_column, 2: _index_names}
"""Version -> what turns a journal into one of the next version, in place."""


@lru_cache
def _expected_schema(version: int = VERSION) -> Schema:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA if version >= 3 else _TABLES)
        return schema_of(connection)


def now() -> float:
    """Seconds since 1970, as the journal notes them; what no date can show becomes one that can."""
    return min(max(0.0, time.time()), LATEST)


def born() -> float:
    """When a memory is made: a moment of the last second, drawn at random.

    What a writer of an earlier memory of its name may still put in place is told by this moment
    from what is this memory's; so it must differ also where a clock was set back, stands still or
    shows what no date can.
    """
    return max(0.0, now() - 1) + random.SystemRandom().random()
