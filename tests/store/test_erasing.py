"""Erasing is whole, and says when a file that held the text could not be removed."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost, contents
from tests.store.test_changes import everything_in, story
from tests.store.test_faults import Refusing

from memplus.errors import StorageError, UnknownSourceError, UsageError
from memplus.memory.forgetting import Chosen
from memplus.store import MemoryStore, StoredMemory
from memplus.store.erasing import chosen_or_matching, remove_leftovers, take_contents

HOST = FakeHost()


@pytest.fixture
def memory(tmp_path: Path) -> StoredMemory:
    made = MemoryStore(tmp_path, limits=SMALL).create("alice", HOST, seed=1)
    story(HOST, made)
    return made


def test_all_that_is_named_is_chosen_together(memory: StoredMemory) -> None:
    of_source = {record.id for record in memory.writes if record.source == "s1"}
    assert chosen_or_matching(memory, "s1", 1, None) == Chosen(of_source | {1}, tail=False)
    assert chosen_or_matching(memory, "s2", None, None).tail
    found = chosen_or_matching(memory, "s1", None, "word0 word1")
    assert found.writes == of_source | {1}
    with pytest.raises(UnknownSourceError):
        chosen_or_matching(memory, "s9", 1, "word0")
    with pytest.raises(UsageError, match="holds 'nowhere'"):
        chosen_or_matching(memory, "s1", 1, "nowhere")


def test_a_memory_takes_over_all_that_another_holds(memory: StoredMemory) -> None:
    other = HOST.new_memory(seed=9)
    story(HOST, other, calls=5)
    now = contents(other)
    take_contents(memory, other.fork())
    assert contents(memory) == now
    HOST.write(other, [[1, 2, 3, 4]] * 9, "later")
    assert contents(memory) == now


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_leftover_that_cannot_be_removed_is_told_and_goes_later(
    memory: StoredMemory, tmp_path: Path, rebuild: bool
) -> None:
    folder = memory.keeper.folder
    HOST.write(memory, [[4321] * 4], "secret")
    (folder.path / "log-0123456789abcdef").write_bytes(b"word4321")
    usual, folder.disk = folder.disk, Refusing(1, errno.EACCES, lasting=False)
    with pytest.raises(StorageError, match="it is forgotten, but a file"):
        remove_leftovers(memory.keeper)
    folder.disk = usual
    memory.forget(source="secret", rebuild=rebuild)
    memory.close()
    assert b"word4321" not in everything_in(tmp_path)
    with MemoryStore(tmp_path).open("alice", HOST) as again:
        assert "secret" not in {record.source for record in again.writes}


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("last", ["secret", "other"])
def test_the_name_of_a_source_goes_where_nothing_of_it_waits(
    memory: StoredMemory, tmp_path: Path, *, rebuild: bool, last: str
) -> None:
    HOST.write(memory, [[5, 6, 7, 8]], "secret")
    if last == "other":
        HOST.write(memory, [[5, 6, 7, 8]], "other")
    memory.tail_source = last  # as a write that is flushed leaves it
    memory.forget(source="secret", rebuild=rebuild)
    assert memory.tail_source in {"", "other"}
    memory.close()
    assert b"secret" not in everything_in(tmp_path)


def test_characters_of_a_source_are_counted_on_behind_what_was_forgotten(
    memory: StoredMemory, tmp_path: Path
) -> None:
    """As its tokens are; also where nothing of it is left but its tail."""
    chars = 0
    for number in range(2):
        HOST.write(memory, [[5, 6, 7, 8]] * 2, "long", [9])
        ids = [one.id for one in memory.writes if one.source == "long" and one.tokens]
        said = memory.texts(ids)
        assert next(one.first_char for one in said.values()) == chars
        chars += sum(len(one.text) for one in said.values())
        memory.forget(write=ids)
        assert not memory.texts(ids), number
    HOST.write(memory, [[9, 10, 11, 12]], "long")
    last = memory.writes[-1]
    assert (last.start, memory.texts([last.id])[last.id].first_char) == (16, chars)
    HOST.write(memory, [[13, 14, 15, 16]], "long")
    memory.forget(source="long")
    HOST.write(memory, [[1, 2, 3, 4]], "long")  # nothing was left of it
    last = memory.writes[-1]
    assert (last.start, memory.texts([last.id])[last.id].first_char) == (0, 0)
    memory.close()
    MemoryStore(tmp_path, limits=SMALL).verify("alice")
