"""What the next commit holds: everything since the last one, once."""

from __future__ import annotations

import torch
from tests.store.fakes import LAYERS, WIDTH, FakeHost

from memplus.memory.records import Passage, WriteRecord
from memplus.store.blocks import Layout
from memplus.store.pending import Pending
from memplus.store.snapshot import Logged

HOST = FakeHost()


def written(number: int) -> Logged:
    record = WriteRecord(number, "a", 4 * number, 4)
    drop = torch.zeros(LAYERS, 4, dtype=torch.int32)
    return Logged(record, Passage((1, 2), "text"), torch.ones(LAYERS, 4, WIDTH), drop)


def names(record: tuple[Layout, list[torch.Tensor]]) -> set[str]:
    return set(record[0].places)


def test_what_is_prepared_is_fixed_and_leaves_later_writes_pending() -> None:
    pending, memory = Pending(), HOST.new_memory()
    memory.tail = [1, 2, 3]
    for number in (1, 2):
        pending.add(written(number))
    prepared = pending.prepared(memory)
    pending.add(written(3))
    assert [record.id for record, _ in prepared.passages] == [1, 2]
    assert prepared.waiting == 3
    assert {"hidden.0", "drop.0", "hidden.1", "drop.1"} <= names(prepared.record)
    pending.committed(prepared)
    assert pending.nbytes == written(3).nbytes
    left = pending.prepared(memory)
    assert [record.id for record, _ in left.passages] == [3]
    assert "hidden.1" not in names(left.record)


def test_what_leaves_the_log_waits_for_the_journal_alone() -> None:
    pending, memory = Pending(), HOST.new_memory()
    pending.add(written(1))
    pending.leave_log()
    pending.add(written(2))
    assert (pending.beyond_log, pending.nbytes) == (True, 0)
    prepared = pending.prepared(memory)
    assert [record.id for record, _ in prepared.passages] == [1, 2]
    assert names(prepared.record) == {"generator"}
    pending.clear()
    assert (pending.beyond_log, pending.prepared(memory).passages) == (False, [])


def test_bytes_are_those_of_the_tensors() -> None:
    pending = Pending()
    pending.add(written(1))
    assert pending.nbytes == LAYERS * 4 * WIDTH * 4 + LAYERS * 4 * 4
