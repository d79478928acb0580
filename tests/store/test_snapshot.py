"""Snapshots and log records: the same state comes back; what does not follow is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.store.fakes import CONFIG, FakeHost, contents
from tests.store.test_store import chunks

from memplus.errors import CorruptMemoryError
from memplus.memory.bounds import example_rows
from memplus.memory.records import NewRows, Passage, WriteRecord
from memplus.memory.state import Memory
from memplus.store.blocks import read_records
from memplus.store.container_contents import Expected
from memplus.store.disk import Disk
from memplus.store.snapshot import Logged, append_record, log_record, replay_record

HOST = FakeHost()
EXPECTED = Expected(CONFIG, example_rows(HOST, HOST.new_rows), HOST.vocabulary)


class Listening(Memory):
    """Notes what each write made, as a memory in a store does."""

    logged: list[Logged]

    def wrote(
        self, rows: NewRows, record: WriteRecord, drop: torch.Tensor | None, said: Passage
    ) -> None:
        self.logged.append(Logged(record, said, rows.hidden, drop))


@pytest.fixture
def log(tmp_path: Path) -> tuple[Path, list[int], Listening]:
    """A log of commits of 1, 4 and 0 writes; where each ends; the memory after them."""
    memory = Listening(HOST, 3)
    disk, ends = Disk(), [0]
    sink = disk.start(tmp_path / "log")
    for count, tail in ((1, []), (4, [7]), (0, [7, 8])):
        memory.logged = []
        HOST.write(memory, chunks(10 * ends[-1], count), "é", tail)
        ends.append(append_record(sink, ends[-1], log_record(memory, memory.logged)))
    sink.close()
    return tmp_path / "log", ends, memory


def test_replayed_records_give_the_same_memory(log: tuple[Path, list[int], Listening]) -> None:
    path, ends, memory = log
    again = HOST.new_memory(3)
    for record in read_records(path, ends[-1]):
        replay_record(again, record, HOST.new_rows, EXPECTED)
    assert contents(again) == contents(memory)


def test_a_record_that_does_not_follow_is_refused(log: tuple[Path, list[int], Listening]) -> None:
    path, ends, _ = log
    _, second, _ = read_records(path, ends[-1])
    fresh = HOST.new_memory(3)
    with pytest.raises(CorruptMemoryError, match=r"record\.writes is 2 where write 1 follows"):
        replay_record(fresh, second, HOST.new_rows, EXPECTED)
    assert contents(fresh) == contents(HOST.new_memory(3))


def test_a_tail_outside_the_vocabulary_is_refused(
    log: tuple[Path, list[int], Listening],
) -> None:
    path, ends, _ = log
    known = Expected(CONFIG, EXPECTED.like, vocabulary=8)
    records = read_records(path, ends[-1])
    again = HOST.new_memory(3)
    for record in records[:2]:
        replay_record(again, record, HOST.new_rows, known)
    with pytest.raises(CorruptMemoryError, match=r"tail\.1 is 8, with a vocabulary of 8"):
        replay_record(again, records[2], HOST.new_rows, known)
