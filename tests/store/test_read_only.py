"""A disk that is read-only, full or without permission, and running out of descriptors: none of
it is damage, and reading needs no writing."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.fakes import make_mplus
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.mounts import fill, make_read_only, small_disk, without_rights
from tests.store.test_changes import story

from memplus.errors import CorruptMemoryError, StorageError
from memplus.memory.state import Memory
from memplus.store import MemoryStore

HOST = FakeHost()


def filled(path: Path) -> Memory:
    """A closed store at ``path`` with one memory; returns what that holds."""
    with MemoryStore(path, limits=SMALL).create("alice", HOST, seed=1) as memory:
        story(HOST, memory)
        return memory.fork()


def read_everything(path: Path, expected: Memory, elsewhere: Path) -> None:
    """List, open, tell, show, verify and export."""
    store = MemoryStore.existing(path)
    assert [one.id for one in store.memories()] == ["alice"]
    assert "alice" in store
    assert store.manifest("alice").writes == len(expected.writes)
    with store.open("alice", HOST) as memory:
        assert contents(memory) == contents(expected)
        assert memory.texts().keys() == {record.id for record in expected.writes}
        assert memory.history()[-1].writes == len(expected.writes)
    assert store.history("alice")[-1].writes == len(expected.writes)
    assert store.verify("alice") > 0
    assert store.size("alice") > 0
    store.export("alice", elsewhere / "alice.zip")
    imported = MemoryStore(elsewhere / "t")
    imported.import_memory(elsewhere / "alice.zip")
    with imported.open("alice", HOST) as memory:
        assert contents(memory) == contents(expected)
    (elsewhere / "alice.zip").unlink()
    shutil.rmtree(elsewhere / "t")


def changes_are_refused(path: Path) -> None:
    """Every change is a ``StorageError`` that gives the system's reason."""
    store = MemoryStore(path)
    for act in (
        lambda: store.open("alice", HOST, write=True),
        lambda: store.create("bob", HOST),
        lambda: store.fork("alice", "bob"),
        lambda: store.delete("alice"),
        lambda: store.rollback("alice", 3),
        lambda: store.export("alice", path.parent / "alice.zip"),
    ):
        with pytest.raises(StorageError):
            act()
    with pytest.raises(StorageError):
        MemoryStore(path.with_name("other"))


def test_a_closed_store_on_a_read_only_disk_is_read(tmp_path: Path) -> None:
    with small_disk() as disk:
        expected = filled(disk / "s")
        assert not list((disk / "s").rglob("*-wal"))
        make_read_only(disk)
        read_everything(disk / "s", expected, tmp_path)
        changes_are_refused(disk / "s")


@pytest.mark.parametrize("index", [True, False], ids=["with its index", "without its index"])
def test_what_a_killed_writer_left_is_read_on_a_read_only_disk(tmp_path: Path, index: bool) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with small_disk() as disk, store.create("alice", HOST, seed=1) as memory:
        story(HOST, memory)
        (log,) = (tmp_path / "s").rglob("*-wal")
        assert log.stat().st_size
        shutil.copytree(
            tmp_path / "s",
            disk / "s",
            ignore=shutil.ignore_patterns(*([] if index else ["*-shm"])),
        )
        make_read_only(disk)
        read_everything(disk / "s", memory.fork(), tmp_path)


def test_a_closed_store_on_a_full_disk_is_read_and_writing_says_why(tmp_path: Path) -> None:
    with small_disk("2m") as disk:
        expected = filled(disk / "s")
        fill(disk)
        read_everything(disk / "s", expected, tmp_path)
        store = MemoryStore(disk / "s")
        for act in (
            lambda: store.open("alice", HOST, write=True),
            lambda: store.create("bob", HOST),
            lambda: store.fork("alice", "bob"),
            lambda: store.export("alice", disk / "alice.zip"),
        ):
            with pytest.raises(StorageError, match="No space left"):
                act()
        assert [one.id for one in store.memories()] == ["alice"]


def test_a_store_of_somebody_else_is_read_without_rights() -> None:
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as elsewhere:
        expected = filled(Path(place) / "s")
        Path(elsewhere).chmod(0o777)
        with readable_only(Path(place)):

            def act() -> None:
                read_everything(Path(place) / "s", expected, Path(elsewhere))
                changes_are_refused(Path(place) / "s")

            without_rights(act)


@contextmanager
def readable_only(place: Path) -> Iterator[None]:
    """Everybody may read it, nobody may change it."""
    everything = [place, *place.rglob("*")]
    modes = [(path, stat.S_IMODE(path.stat().st_mode)) for path in everything]
    for path, _ in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path, mode in modes:
            path.chmod(mode)


def test_a_store_that_may_not_be_looked_into_says_so() -> None:
    with tempfile.TemporaryDirectory() as place:
        filled(Path(place) / "s")
        Path(place).chmod(0o755)
        (Path(place) / "s" / "memories").chmod(0o700)

        def act() -> None:
            os.chdir("/")
            for attempt in (
                lambda: MemoryStore.existing(Path(place) / "s").memories(),
                lambda: "alice" in MemoryStore.existing(Path(place) / "s"),
                lambda: MemoryStore(Path(place) / "s").manifest("alice"),
                lambda: MemoryStore(Path(place) / "s").open("alice", HOST),
            ):
                with pytest.raises(StorageError, match="ermission"):
                    attempt()

        if os.geteuid() == 0:
            without_rights(act)


def test_a_change_by_another_process_is_noticed_where_the_journal_is_read_as_it_lies() -> None:
    with small_disk() as disk:
        filled(disk / "s")
        make_read_only(disk)
        memory = MemoryStore(disk / "s").open("alice", HOST)
        (journal,) = (disk / "s").rglob("journal-*")
        before = memory.texts()
        os.system(f"mount -o remount,rw {disk}")
        os.utime(journal, ns=(1, 1))
        with pytest.raises(StorageError, match="another process changed it"):
            memory.texts()
        with MemoryStore(disk / "s").open("alice", HOST) as again:
            assert again.texts() == before


@contextmanager
def only_descriptors(spare: int) -> Iterator[None]:
    """No more than so many files can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
    held: list[int] = []
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(spare):
            os.close(held.pop())
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("write", [False, True], ids=["reading", "writing"])
def test_running_out_of_descriptors_says_so(tmp_path: Path, write: bool) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    expected = filled(tmp_path / "s")
    for number in range(14):
        store.fork("alice", f"memory {number}")
    for spare in range(12):  # so that every call that needs one is the first to fail once
        with (
            only_descriptors(spare),
            pytest.raises(StorageError, match="Too many open"),
            ExitStack() as opened,
        ):
            for number in range(14):
                opened.enter_context(store.open(f"memory {number}", HOST, write=write))
    with store.open("memory 0", HOST, write=True) as memory:
        assert contents(memory) == contents(expected)
    store.verify("memory 0")


def test_a_refusal_is_not_taken_for_damage_nor_damage_for_a_refusal(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    (journal,) = (tmp_path / "s").rglob("journal-*")
    content = journal.read_bytes()
    journal.write_bytes(content[:100])
    with pytest.raises(CorruptMemoryError, match="journal"):
        MemoryStore(tmp_path / "s").open("alice", HOST)
    journal.write_bytes(content.replace(b"commits", b"comnits"))
    with pytest.raises(CorruptMemoryError, match="table 'comnits' does not belong"):
        MemoryStore(tmp_path / "s").open("alice", HOST)


def test_a_model_answers_from_a_read_only_disk() -> None:
    model = make_mplus()
    with small_disk() as disk:
        with MemoryStore(disk / "s").create("alice", model) as memory:
            model.write(memory, "The gate is red. The dog sleeps all day.", flush=True)
            expected = model.ask(memory, "Why?").text
        make_read_only(disk)
        with MemoryStore.existing(disk / "s").open("alice", model) as memory:
            assert model.ask(memory, "Why?").text == expected
