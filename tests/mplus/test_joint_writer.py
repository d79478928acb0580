"""Writes that go on together leave the memories that single writes would leave."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fakes import distance, make_mplus, some_ids

from memplus import Memory, MPlus
from memplus.errors import BudgetError, EmptyTextError
from memplus.mplus.joint_writer import JointWriter, OpenWrite
from memplus.mplus.writer import Receipt


@pytest.fixture(scope="module")
def model() -> MPlus:
    return make_mplus()


def text(tokens: int, seed: int) -> list[int]:
    return [int(one) for one in some_ids(tokens, seed=seed)]


def written(writer: JointWriter, going: list[OpenWrite], tokens: int = 1 << 20) -> list[Receipt]:
    """Write all to their ends, in the order in which they were given."""
    order, passes = list(going), 0
    while left := [one for one in going if not writer.done(one)]:
        writer.step(writer.together(left, tokens))
        passes += 1
        assert passes < 100
    return [writer.finish(one) for one in order]


def rows(memory: Memory) -> dict[str, Any]:
    assert memory.pool is not None
    return memory.pool.tensors() | {"long": torch.tensor(memory.long_term_rows)}


@pytest.mark.parametrize("tokens", [10, 1 << 20])
@pytest.mark.parametrize("flush", [False, True])
def test_memories_are_those_of_single_writes(model: MPlus, flush: bool, tokens: int) -> None:
    writer = JointWriter(model.core)
    together = [model.new_memory(seed) for seed in range(4)]
    alone = [model.new_memory(seed) for seed in range(4)]
    for seed, pair in enumerate(zip(together, alone, strict=True)):
        for memory in pair:
            model.write(memory, text(7 * seed + 1, seed), source="old")
    lengths = (3, 47, 30, 58)
    going = [
        writer.begin(memory, text(length, length), source="new", flush=flush)
        for memory, length in zip(together, lengths, strict=True)
    ]
    receipts = written(writer, going, tokens)
    for memory, length, receipt in zip(alone, lengths, receipts, strict=True):
        assert model.write(memory, text(length, length), source="new", flush=flush) == receipt
    for left, right in zip(together, alone, strict=True):
        assert (left.writes, left.tail) == (right.writes, right.tail)
        for name, tensor in rows(left).items():
            assert distance(tensor.float(), rows(right)[name].float()) < 1e-4


def test_a_pass_holds_as_many_tokens_as_it_may(model: MPlus) -> None:
    writer = JointWriter(model.core)
    going = [writer.begin(model.new_memory(seed), text(20, seed)) for seed in range(4)]
    assert writer.together(going, 25) == going[:2]
    assert writer.together(going, 1) == going[:1]
    assert writer.together(going, 100) == going
    written(writer, going)


def test_a_write_that_is_abandoned_never_was(model: MPlus) -> None:
    writer = JointWriter(model.core)
    memory, twin = model.new_memory(), model.new_memory()
    for one in (memory, twin):
        model.write(one, text(44, 1), source="a")
    going = writer.begin(memory, text(44, 2), source="b")
    writer.step([going])
    assert len(memory.writes) > len(twin.writes)
    going.abandon(KeyError("no"))
    assert (memory.writes, memory.tail, memory.tail_source) == (twin.writes, twin.tail, "a")
    for one in (memory, twin):
        model.write(one, text(44, 3), source="c")
    for name, tensor in rows(memory).items():
        assert distance(tensor.float(), rows(twin)[name].float()) == 0


def test_what_cannot_be_written_is_refused_and_lets_others_write(model: MPlus) -> None:
    writer = JointWriter(model.core)
    small = model.new_memory(max_bytes=10)
    with pytest.raises(BudgetError):
        writer.begin(small, text(30, 1))
    with pytest.raises(EmptyTextError):
        writer.begin(small, " ")
    assert small.guards.writing.acquire(blocking=False)
    small.guards.writing.release()
