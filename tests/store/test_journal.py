"""The journal: its schema is ours to the letter, each row makes sense, reading it ends."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.clocks import set_clock
from tests.store.fakes import SMALL, FakeHost
from tests.store.test_changes import story
from tests.store.test_store import chunks

from memplus.errors import CorruptMemoryError, MemoryVersionError
from memplus.memory.records import Passage, WriteRecord
from memplus.store import MemoryStore
from memplus.store.disk import Disk
from memplus.store.journal import VERSION, Commit, Journal, Place, now

HOST = FakeHost()
VERSION_1 = Path(__file__).parent / "version1.zip"
SNAPSHOT = "snapshot-0123456789abcdef"


def commit(number: int, writes: int) -> Commit:
    return Commit(number, now(), writes, 0, 0, "write", Place(SNAPSHOT, "", 0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of six writes of two sources."""
    path = tmp_path / "journal-0123456789abcdef"
    Journal.create(path, Disk())
    with opened(path, writable=True) as journal:
        for number in range(1, 7):
            record = WriteRecord(number, f"s{number % 2}", 3 * number, 3)
            said = Passage((number, 5, 6), f"text\0{number} ")
            journal.add(commit(number, number), [(record, said)], number - 1)
    return path


@contextlib.contextmanager
def opened(path: Path, *, writable: bool = False) -> Iterator[Journal]:
    journal = Journal(path, Disk(), writable=writable)
    try:
        yield journal
    finally:
        journal.close()


def run(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def check(path: Path) -> None:
    with opened(path) as journal:
        journal.check(6)


def test_characters_are_counted_past_a_nul(path: Path) -> None:
    with opened(path) as journal:
        texts = journal.texts(range(1, 7), 6)
    assert [texts[number].first_char for number in range(1, 7)] == [0, 0, 7, 7, 14, 14]
    assert texts[3].text == "text\x003 "


def test_names_that_are_no_utf8_travel(path: Path) -> None:
    odd = "caf\udce9.txt"
    with opened(path, writable=True) as journal:
        for number in (7, 8):
            record = WriteRecord(number, odd, 0, 1)
            journal.add(commit(number, number), [(record, Passage((1,), odd))], number - 1)
        found = journal.texts([7, 8], 8)
    assert {(text.source, text.text) for text in found.values()} == {(odd, odd)}
    assert found[8].first_char == len(odd)
    check(path)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON writes BEGIN DELETE FROM commits; END", "trigger 't'"),
        ("CREATE VIEW v AS SELECT 1", "view 'v'"),
        ("CREATE INDEX i ON commits (what)", "index 'i'"),
        ("CREATE TABLE more (a)", "table 'more'"),
        ("DROP INDEX writes_by_source", "index 'writes_by_source' is missing"),
        ("DROP INDEX commits_by_what", "index 'commits_by_what' is missing"),
        ("ALTER TABLE writes ADD COLUMN more INTEGER", "table 'writes'"),
    ],
)
def test_another_schema_is_refused_and_named(path: Path, statement: str, named: str) -> None:
    check(path)
    run(path, statement)
    for writable in (False, True):
        with (
            pytest.raises(CorruptMemoryError, match=named),
            opened(path, writable=writable),
        ):
            raise AssertionError("it was opened")


COLUMNS = [
    *("commit_number", "source", "start", "tokens", "first_char", "time", "text", "ids", "crc"),
]


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_of_a_write_counts(path: Path, column: str) -> None:
    value = {"source": "'else'", "text": "'else'", "ids": "X'01000000'"}.get(column, "1")
    run(path, f"UPDATE writes SET {column} = {value} WHERE id = 3")
    with pytest.raises(CorruptMemoryError, match="write 3 was changed"):
        check(path)


@pytest.mark.parametrize(
    "column", ["time", "writes", "tokens", "waiting", "what", "snapshot", "log", "length", "crc"]
)
def test_every_column_of_a_commit_counts(path: Path, column: str) -> None:
    other = SNAPSHOT.replace("0", "1")
    value = {"what": "'else'", "snapshot": f"'{other}'", "log": f"'{other}'"}.get(column, "11")
    run(path, f"UPDATE commits SET {column} = {value} WHERE number = 3")
    with pytest.raises(CorruptMemoryError, match="commit 3 was changed"):
        check(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE writes SET start = -1 WHERE id = 2", r"write 2\.start is -1"),
        ("UPDATE writes SET tokens = 1000000000000000 WHERE id = 2", r"write 2\.tokens"),
        ("UPDATE writes SET first_char = -5 WHERE id = 2", r"write 2\.first_char"),
        ("UPDATE writes SET time = 9e999 WHERE id = 2", r"write 2\.time is inf"),
        ("UPDATE writes SET id = 5000000000 WHERE id = 2", r"write 5000000000\.id"),
        ("UPDATE commits SET snapshot = '../../../etc/passwd'", r"commit 1\.snapshot"),
        ("UPDATE commits SET log = 'elsewhere'", r"commit 1\.log"),
        ("UPDATE commits SET length = -1", r"commit 1\.length"),
        ("UPDATE commits SET waiting = -1", r"commit 1\.waiting"),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(path: Path, change: str, named: str) -> None:
    run(path, change)
    with opened(path) as journal, pytest.raises(CorruptMemoryError, match=named):
        journal.check(10**10)


def test_a_later_version_is_refused_by_name(path: Path) -> None:
    for version in (VERSION + 1, -1, 2_000_000_000):
        run(path, f"PRAGMA user_version = {version}")
        with pytest.raises(MemoryVersionError, match=f"version {version}"):
            check(path)


ENDLESS = """
CREATE VIEW writes AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
SELECT i AS id, 1, '' AS source, 1, 1, 1, 1.0, '', X'', 1 FROM n WHERE i < 0
"""


def test_a_view_without_an_end_is_not_even_begun(path: Path) -> None:
    run(path, "DROP TABLE writes", ENDLESS)
    begun = time.monotonic()
    with pytest.raises(CorruptMemoryError, match="view 'writes'"):
        check(path)
    assert time.monotonic() - begun < 2


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """The journal of a memory that version 1 exported."""
    with zipfile.ZipFile(VERSION_1) as archive:
        (name,) = (one for one in archive.namelist() if one.startswith("journal-"))
        archive.extract(name, tmp_path)
    return tmp_path / name


def a_write(number: int, writes: int) -> tuple[Commit, list[tuple[WriteRecord, Passage]]]:
    record = WriteRecord(writes, "new", 0, 1)
    return commit(number, writes), [(record, Passage((1,), "new"))]


def test_version_1_is_read_as_it_lies_and_made_new_by_its_first_write(version_1: Path) -> None:
    with opened(version_1) as journal:
        assert journal.version == 1
        journal.check(46)
        texts, commits = list(journal.all_texts(46)), journal.commits(13)
        with opened(version_1, writable=True) as writer:
            assert writer.version == 1
            writer.add(*a_write(14, 47), 46)
            assert writer.version == VERSION
        assert list(journal.all_texts(46)) == texts  # an open reader goes on
        assert journal.has_commit("write", 14)
    run(version_1, "UPDATE writes SET commit_number = 3 WHERE id = 7")
    with opened(version_1) as journal:
        assert (journal.version, journal.commits(13)) == (VERSION, commits)
        with pytest.raises(CorruptMemoryError, match="write 7 was changed"):
            journal.check(47)


def test_a_changed_row_of_version_1_is_not_made_right_by_the_migration(version_1: Path) -> None:
    run(version_1, "UPDATE writes SET start = 9 WHERE id = 7")
    with opened(version_1, writable=True) as journal:
        with pytest.raises(CorruptMemoryError, match="write 7 was changed"):
            journal.add(*a_write(14, 47), 46)
        assert journal.version == 1
    with opened(version_1) as journal:
        assert (journal.version, len(journal.commits(99))) == (1, 13)


@pytest.fixture
def version_2(path: Path) -> Path:
    """As releases before the index wrote it."""
    run(path, "DROP INDEX commits_by_what", "PRAGMA user_version = 2")
    return path


def test_version_2_is_read_as_it_lies_and_gets_its_index_by_the_first_write(
    version_2: Path,
) -> None:
    check(version_2)
    with opened(version_2) as journal:
        assert journal.version == 2
        assert journal.has_commit("write", 6)
        with opened(version_2, writable=True) as writer:
            assert writer.version == 2
            assert uses_index(version_2) is False
            writer.add(*a_write(7, 7), 6)
        assert journal.named(["write", "other"], 7) == {"write"}
    assert uses_index(version_2)
    with opened(version_2) as journal:
        assert journal.version == VERSION
        journal.check(7)


def uses_index(path: Path) -> bool:
    """Whether commits of some name are found by SQLite's index in both queries that ask so."""
    plans: list[str] = []
    with opened(path) as journal:
        asked: list[tuple[str, tuple[object, ...]]] = []

        def rows(query: str, values: tuple[object, ...] = ()) -> Iterator[object]:
            asked.append((query, values))
            return iter(())

        journal._database.rows = rows  # type: ignore[method-assign]
        journal.has_commit("write 1", 6)
        journal.named(["write 1", "write 2", "write 3"], 6)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for query, values in asked:
            found = connection.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
            plans.append(" ".join(row[3] for row in found))
    assert len(plans) == 2
    by_index = ["SEARCH commits USING INDEX commits_by_what (what=?" in one for one in plans]
    assert len(set(by_index)) == 1, plans
    return by_index[0]


def test_a_commit_is_found_by_its_name_without_reading_the_others(path: Path) -> None:
    assert uses_index(path)


def test_an_index_that_does_not_agree_with_its_table_is_damage(path: Path) -> None:
    run(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'what, number', 'number, what') "
        "WHERE name = 'commits_by_what'",
    )
    run(path, "REINDEX")
    run(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'number, what', 'what, number') "
        "WHERE name = 'commits_by_what'",
    )
    with pytest.raises(CorruptMemoryError):
        check(path)


def test_a_memory_of_version_2_goes_on(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with store.create("alice", HOST) as memory, memory.labelled("one"):
        HOST.write(memory, chunks(0, 9), "a")
    (journal,) = (tmp_path / "s").rglob(store.manifest("alice").journal)
    run(journal, "DROP INDEX commits_by_what", "PRAGMA user_version = 2")
    store.verify("alice")
    store.fork("alice", "bob")
    store.export("alice", tmp_path / "file")
    store.import_memory(tmp_path / "file", "carol")
    with store.open("alice", HOST, write=True) as memory:
        assert memory.has_label("one")
        with memory.labelled("two"):
            HOST.write(memory, chunks(0, 9), "a")
        memory.rollback(commit=2)
        assert memory.held_labels(["one", "two"]) == {"one"}
    for name in store:
        assert store.has_label(name, "one")
        store.verify(name)


def tampered(root: Path, change: Callable[[Path], None]) -> MemoryStore:
    root.mkdir()
    store = MemoryStore(root / "s", limits=SMALL)
    with store.create("alice", HOST, seed=1) as memory:
        story(HOST, memory)
    (journal,) = (root / "s").rglob(store.manifest("alice").journal)
    change(journal)
    return store


def test_verify_finds_a_changed_commit_number_and_a_trigger(tmp_path: Path) -> None:
    renumbered = "UPDATE writes SET commit_number = 99 WHERE id = 1"
    store = tampered(tmp_path / "a", lambda journal: run(journal, renumbered))
    with pytest.raises(CorruptMemoryError, match="write 1 was changed"):
        store.verify("alice")
    trigger = "CREATE TRIGGER t AFTER INSERT ON writes BEGIN DELETE FROM writes; END"
    store = tampered(tmp_path / "b", lambda journal: run(journal, trigger))
    with pytest.raises(CorruptMemoryError, match="trigger 't'"):
        store.verify("alice")
    with pytest.raises(CorruptMemoryError, match="trigger 't'"):
        store.open("alice", HOST, write=True)


def test_a_source_of_half_characters_is_kept_in_a_store(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, chunks(0, 9), "caf\udce9.txt", [5])
    with store.open("alice", HOST) as memory:
        assert {record.source for record in memory.writes} == {"caf\udce9.txt"}
        assert memory.texts()[9].source == "caf\udce9.txt"
    store.verify("alice")


@pytest.mark.parametrize("clock", [-5.0, 1e13])
def test_a_clock_out_of_bounds_damages_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: float
) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    set_clock(monkeypatch, lambda: clock)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, chunks(0, 9), "a")
    with store.open("alice", HOST) as memory:
        assert memory.tokens
        assert all(datetime.fromtimestamp(one.time, UTC) for one in memory.history())
    store.verify("alice")
