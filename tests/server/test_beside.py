"""Changes of memories, and what ``server.db`` keeps of them, whatever ends the process between."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.store.fakes import FakeHost

from memplus.errors import (
    HistoryError,
    MemoryBusyError,
    MemoryExistsError,
    StorageError,
    UnknownMemoryError,
)
from memplus.server import beside as module
from memplus.server.beside import Beside, Change
from memplus.server.calls import Call
from memplus.server.chains import Chains, Place
from memplus.server.database import ServerDatabase
from memplus.server.erasure import choose
from memplus.server.intake import Entry, Intake
from memplus.server.kept_answers import KeptAnswers, KeptResponse
from memplus.server.principals import Principal
from memplus.server.settings import ServerSettings
from memplus.store import MemoryStore, StoredMemory
from memplus.store.disk import Disk

HOST = FakeHost()
PLACE = Place("acme", "ann")
STORED = "acme/ann"


async def _nobody(entry: Entry) -> None:
    raise AssertionError(entry.id)


def beside(database: ServerDatabase) -> Beside:
    intake = Intake(database, _nobody, 1.0)
    return Beside(MemoryStore(database.path.parent), database, intake, ServerSettings())


def write(memory: StoredMemory, label: str, source: str) -> None:
    with memory.labelled(label):
        HOST.write(memory, [[1, 2, 3, 4]], source)


@pytest.fixture
def kept(database: ServerDatabase) -> Beside:
    """Two calls, a turn, a response, and a text that waits."""
    made = beside(database)
    with MemoryStore(database.path.parent).create(STORED, HOST) as memory:
        for label, source in (("one", "a"), ("two", "b")):
            made.calls.add(STORED, Call(label, "", source, 0, 4, (), {"of": label}))
            write(memory, label, source)
    link = made.ledger.chains.links(PLACE, [("user", "hello")])
    with database.transaction() as run:
        Chains.put(run, PLACE, link)
        response = KeptResponse("resp_1", "ann", "", [], {})
        KeptAnswers.put(run, Principal("acme"), response, 10)
        Intake.put(run, [Entry("waits", "acme", "ann", "chat", "later")])
    return made


def counts(database: ServerDatabase) -> dict[str, int]:
    tables = ("calls", "turns", "responses", "intake", "changes")
    return {one: len(database.rows(f"SELECT * FROM {one}")) for one in tables}


ALL = {"calls": 2, "turns": 1, "responses": 1, "intake": 1, "changes": 0}


def test_deleting_takes_everything_with_it(kept: Beside, database: ServerDatabase) -> None:
    kept.delete(STORED)
    assert not any(counts(database).values())
    with pytest.raises(UnknownMemoryError):
        kept.delete(STORED)


def test_going_back_takes_later_calls_and_what_waits(
    kept: Beside, database: ServerDatabase
) -> None:
    kept.roll_back(STORED, None, 2)
    assert kept.calls.ids(STORED) == ["one"]
    assert counts(database) == ALL | {"calls": 1, "intake": 0}


def test_forgetting_takes_answers_and_the_calls_that_said_it(
    kept: Beside, database: ServerDatabase
) -> None:
    with MemoryStore(database.path.parent).open(STORED, HOST, write=True) as memory:
        change = Change.forgetting(choose(memory, "a"), "a", None)
        with kept.changing(STORED, change) as gone:
            memory.forget(source="a")
    assert gone == {"refused_texts": 0, "responses": 1, "conversation_items": 0}
    assert kept.calls.ids(STORED) == ["two"]
    assert counts(database) == ALL | {"calls": 1, "responses": 0}  # hashes of turns stay


def test_a_change_that_is_refused_takes_nothing(
    kept: Beside, database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HistoryError):
        kept.roll_back(STORED, None, 77)
    store = MemoryStore(database.path.parent)
    with store.open(STORED, HOST, write=True) as memory:
        with pytest.raises(MemoryBusyError):
            kept.delete(STORED)

        def refuse(**_: Any) -> None:
            raise StorageError(database.path, reason="the disk is full")

        monkeypatch.setattr(memory, "forget", refuse)
        change = Change.forgetting(choose(memory, "a"), "a", None)
        with pytest.raises(StorageError), kept.changing(STORED, change):
            memory.forget(source="a")
    assert counts(database) == ALL


@pytest.mark.parametrize("what", ["delete", "forget", "rollback"])
def test_the_next_process_ends_what_a_killed_one_began(
    kept: Beside, database: ServerDatabase, what: Any
) -> None:
    store = MemoryStore(database.path.parent)
    with store.open(STORED, HOST, write=True) as memory:
        forgets = Change.forgetting(choose(memory, "a"), "a", None)
        kept.begin(STORED, forgets if what == "forget" else Change(what))
        beside(database).finish_all()  # killed before the memory was changed
        assert counts(database) == ALL | {"changes": 1}
        if what == "forget":
            memory.forget(source="a")
        if what == "rollback":
            memory.rollback(commit=2)
    if what == "delete":
        store.delete(STORED)
    assert counts(database) == ALL | {"changes": 1}  # killed after it
    beside(database).finish_all()
    left = {
        "delete": dict.fromkeys(ALL, 0),
        "forget": ALL | {"calls": 1, "responses": 0},
        "rollback": ALL | {"calls": 1, "intake": 0},
    }
    assert counts(database) == left[what]


@pytest.mark.parametrize("made", [False, True])
def test_a_note_that_a_killed_process_left_is_ended_before_the_next_change(
    kept: Beside, database: ServerDatabase, made: bool
) -> None:
    with MemoryStore(database.path.parent).open(STORED, HOST, write=True) as memory:
        kept.begin(STORED, Change("rollback"))  # takes what waits with it
        if made:
            memory.rollback(commit=3)
        again = beside(database)
        choice = choose(memory, "a")
        with again.changing(STORED, Change.forgetting(choice, "a", None)):
            memory.forget(source="a")
        again.finish_all()
    found = counts(database)
    assert (found["intake"], found["changes"]) == (int(not made), 0)


def test_a_note_of_an_earlier_release_is_ended(kept: Beside, database: ServerDatabase) -> None:
    old = {"what": "forget", "source": "chat", "match": None, "parts": [], "shift": False}
    with MemoryStore(database.path.parent).open(STORED, HOST, write=True) as memory:
        kept.begin(STORED, Change("forget"))
        with database.transaction() as run:
            run.execute("UPDATE changes SET change = ?", (json.dumps(old),))
        memory.forget(source="a")
    beside(database).finish_all()
    assert counts(database) == ALL | {"responses": 0, "intake": 0}


def test_no_word_of_what_was_to_be_forgotten_stays_in_the_note_of_it(
    kept: Beside, database: ServerDatabase
) -> None:
    kept.finish(kept.begin(STORED, Change("forget", match="tulip")))
    files = database.path.parent.glob("server.db*")
    assert not any(b"tulip" in file.read_bytes() for file in files)


def test_a_memory_that_is_made_anew_knows_nothing_of_one_that_another_program_deleted(
    kept: Beside, database: ServerDatabase
) -> None:
    MemoryStore(database.path.parent).delete(STORED)
    kept.made(STORED)
    assert counts(database) == ALL | {"calls": 0, "turns": 0}


def test_a_memory_that_is_made_anew_gets_no_text_for_one_whose_deletion_a_kill_cut_short(
    kept: Beside, database: ServerDatabase
) -> None:
    store = MemoryStore(database.path.parent)
    kept.begin(STORED, Change("delete"))
    store.delete(STORED)  # killed before what waits for it went
    with database.transaction() as run:
        Intake.put(run, [Entry("after", "acme", "ann", "chat", "for the new one")])

    @contextmanager
    def within() -> Iterator[None]:
        kept.made(STORED)
        yield

    store.make(STORED, HOST, within=within)
    beside(database).finish_all()
    assert kept.intake.among("acme", "ann", ["waits", "after"]) == {"after": ""}
    assert counts(database)["changes"] == 0


def test_a_memory_that_is_made_anew_gets_no_text_for_one_that_another_program_deleted(
    kept: Beside, database: ServerDatabase
) -> None:
    MemoryStore(database.path.parent).delete(STORED)
    with database.transaction() as run:  # as the server found when it was to write it
        run.execute("UPDATE intake SET refused = 'UnknownMemoryError'")
        Intake.put(run, [Entry("after", "acme", "ann", "chat", "for the new one")])
    kept.made(STORED)
    assert kept.intake.among("acme", "ann", ["waits", "after"]) == {"after": ""}


def test_what_a_full_memory_refused_waits_again_once_something_was_forgotten(
    kept: Beside, database: ServerDatabase
) -> None:
    with database.transaction() as run:
        run.execute("UPDATE intake SET refused = 'BudgetError'")
        Intake.put(run, [Entry("empty", "acme", "ann", "chat", " ")])
        run.execute("UPDATE intake SET refused = 'EmptyTextError' WHERE id = 'empty'")
    with MemoryStore(database.path.parent).open(STORED, HOST, write=True) as memory:
        change = Change.forgetting(choose(memory, "a"), "a", None)
        with kept.changing(STORED, change):
            memory.forget(source="a")
    here = kept.intake.among("acme", "ann", ["waits", "empty"])
    assert here == {"waits": "", "empty": "EmptyTextError"}


def test_a_fork_knows_what_was_written(kept: Beside, database: ServerDatabase) -> None:
    within = partial(kept.forking, STORED, "acme/bob")
    MemoryStore(database.path.parent).fork(STORED, "acme/bob", within=within)
    assert kept.calls.ids("acme/bob") == ["one", "two"]
    assert counts(database) == ALL | {"calls": 4, "turns": 2}


def test_a_fork_that_fails_leaves_nothing(
    kept: Beside, database: ServerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Disk, old: Path, new: Path) -> None:
        assert kept.calls.ids("acme/bob") == ["one", "two"], "known before the fork is there"
        raise OSError(errno.ENOSPC, "full", str(new))

    monkeypatch.setattr(Disk, "rename", refuse)
    within = partial(kept.forking, STORED, "acme/bob")
    with pytest.raises(StorageError):
        MemoryStore(database.path.parent).fork(STORED, "acme/bob", within=within)
    assert counts(database) == ALL


def test_who_imports_a_memory_that_another_server_was_quicker_to_import_takes_nothing_away(
    kept: Beside,
    database: ServerDatabase,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path_factory.mktemp("out") / "ann.memory"
    kept.export(STORED, file)
    looking = module.enclosed

    def enclosed(path: Path) -> object:
        monkeypatch.undo()
        beside(database).import_memory(path, "acme/bob")
        return looking(path)

    monkeypatch.setattr(module, "enclosed", enclosed)
    with pytest.raises(MemoryExistsError):
        kept.import_memory(file, "acme/bob")
    assert [one.metadata for one in kept.calls.noted("acme/bob")] == [{"of": "one"}, {"of": "two"}]


def test_what_was_noted_for_an_import_that_failed_goes(
    kept: Beside,
    database: ServerDatabase,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path_factory.mktemp("out") / "ann.memory"
    kept.export(STORED, file)

    def refuse(self: Disk, old: Path, new: Path) -> None:
        raise OSError(errno.ENOSPC, "full", str(new))

    monkeypatch.setattr(Disk, "rename", refuse)
    with pytest.raises(StorageError):
        kept.import_memory(file, "acme/bob")
    assert kept.calls.ids("acme/bob") == []
