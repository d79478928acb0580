"""Texts that are written chunk by chunk, without a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.fakes import make_mplus, some_ids

from memplus import Memory, MemoryStore, MPlus
from memplus.errors import EmptyTextError, OverloadedError, PassFailedError
from memplus.mplus.joint_reader import JointReader
from memplus.mplus.joint_writer import JointWriter, OpenWrite
from memplus.mplus.writer import Receipt
from memplus.server.engine.handing import Promise
from memplus.server.engine.requests import EngineLimits
from memplus.server.engine.writes import WriteRequest, Writes


@pytest.fixture(scope="module")
def model() -> MPlus:
    return make_mplus()


class Failing(JointWriter):
    """Runs out of room at the chunks of some memories, and notes what was written together."""

    def __init__(self, model: MPlus) -> None:
        super().__init__(model.core)
        self.failing: Memory | None = None
        self.passes: list[int] = []

    def step(self, writes: Sequence[OpenWrite]) -> None:
        self.passes.append(len(writes))
        if any(one.memory is self.failing for one in writes):
            raise torch.OutOfMemoryError("no room")
        super().step(writes)


class Setup:
    """Writes, and what is asked of them."""

    def __init__(self, model: MPlus, limits: EngineLimits | None = None) -> None:
        self.writer, self.reader = Failing(model), JointReader(model.core)
        self.writes = Writes(self.writer, self.reader, limits or EngineLimits())

    def ask(
        self, memory: Memory, tokens: int, source: str = "a", label: str | None = None
    ) -> Promise[Receipt]:
        promise: Promise[Receipt] = Promise()
        text = some_ids(tokens, seed=tokens).tolist()
        self.writes.add(WriteRequest(memory, text, source, True, label, promise))
        return promise

    def finish(self) -> None:
        for _ in range(200):
            if not len(self.writes):
                return
            self.writes.step(hurried=False)
        raise AssertionError("the writes had no end")


def test_texts_are_written_together_and_one_after_another_in_a_memory(model: MPlus) -> None:
    async def main() -> None:
        setup = Setup(model)
        memories = [model.new_memory(seed) for seed in range(3)]
        promises = [setup.ask(memory, 30) for memory in memories]
        promises.append(setup.ask(memories[0], 12, source="b"))
        setup.finish()
        receipts = [await promise.future for promise in promises]
        assert [one.source for one in memories[0].writes] == ["a"] * 3 + ["b"] * 2
        assert [(one.tokens, one.chunks) for one in receipts] == [(30, 3)] * 3 + [(12, 2)]
        assert setup.writes.tokens == 102
        assert setup.writer.passes[:3] == [3, 3, 3]

    asyncio.run(main())


def test_a_short_text_does_not_wait_for_a_long_one(model: MPlus) -> None:
    async def main() -> None:
        setup = Setup(model, EngineLimits(write_tokens=1))
        long = setup.ask(model.new_memory(), 200)
        short = setup.ask(model.new_memory(), 10)
        for _ in range(3):
            setup.writes.step(hurried=True)
        await asyncio.sleep(0)
        assert short.future.done()
        assert not long.future.done()
        assert set(setup.writer.passes) == {1}
        setup.finish()
        await long.future

    asyncio.run(main())


def test_however_many_long_texts_are_written_a_short_one_gets_its_turn(model: MPlus) -> None:
    async def main() -> None:
        setup = Setup(model, EngineLimits(writes_together=4))
        long = [setup.ask(model.new_memory(seed), 200) for seed in range(12)]
        setup.writes.step(hurried=False)
        short = setup.ask(model.new_memory(99), 10)
        for _ in range(6):  # so many passes take all that are open once
            setup.writes.step(hurried=False)
        await asyncio.sleep(0)
        assert short.future.done()
        assert not any(one.future.done() for one in long)
        assert max(setup.writer.passes) == 4
        setup.finish()
        assert [(await one.future).tokens for one in long] == [200] * 12

    asyncio.run(main())


def test_texts_of_one_memory_keep_their_order_among_many_others(model: MPlus) -> None:
    async def main() -> None:
        setup, memory = Setup(model, EngineLimits(writes_together=1)), model.new_memory()
        promises = [setup.ask(memory, 12, source=name) for name in "abc"]
        promises += [setup.ask(model.new_memory(seed), 30) for seed in range(3)]
        promises.append(setup.ask(memory, 12, source="d"))
        setup.finish()
        for one in promises:
            await one.future
        assert list(dict.fromkeys(one.source for one in memory.writes)) == list("abcd")

    asyncio.run(main())


def test_reads_that_begin_meanwhile_see_the_memory_as_it_was(model: MPlus) -> None:
    async def main() -> None:
        setup, memory = Setup(model), model.new_memory()
        model.write(memory, some_ids(40).tolist())
        before, count = memory.fork(), len(memory.writes)
        promise = setup.ask(memory, 40)
        setup.writes.step(hurried=False)
        assert len(memory.writes) > count
        found = setup.reader.begin(memory, [1, 2, 3], 4)
        again = JointReader(model.core).begin(before, [1, 2, 3], 4)
        logits = [JointReader(model.core).step([read.piece(9)])[0] for read in (found, again)]
        assert logits[0] is not None
        assert logits[1] is not None
        assert torch.equal(logits[0], logits[1])
        setup.finish()
        await promise.future
        seen = setup.reader.begin(memory, [1, 2, 3], 4).seen
        assert seen is not None
        assert seen.writes == memory.writes

    asyncio.run(main())


def test_a_pass_that_fails_undoes_those_alone_that_cause_it(model: MPlus) -> None:
    async def main() -> None:
        setup = Setup(model)
        memories = [model.new_memory(seed) for seed in range(3)]
        promises = [setup.ask(memory, 30) for memory in memories]
        setup.writes.step(hurried=False)
        setup.writer.failing = memories[1]
        setup.finish()
        await promises[0].future
        await promises[2].future
        with pytest.raises(PassFailedError, match="no room"):
            await promises[1].future
        assert [len(memory.writes) for memory in memories] == [3, 0, 3]

    asyncio.run(main())


def test_an_end_in_the_middle_leaves_nothing_of_a_write(model: MPlus, tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(model)
        with MemoryStore(tmp_path / "s").create("alice", model) as memory:
            model.write(memory, some_ids(25).tolist(), source="old", flush=True)
            begun = setup.ask(memory, 40)
            waiting = setup.ask(memory, 10)
            setup.writes.step(hurried=False)
            assert len(memory.writes) == 4
            setup.writes.fail_all(KeyError("end"))
            for promise in (begun, waiting):
                with pytest.raises((KeyError, PassFailedError)):
                    await promise.future
            assert [one.source for one in memory.writes] == ["old"] * 3
            assert len(memory.history()) == 2
            last = setup.ask(memory, 20, label="id7")
            setup.finish()
            await last.future
            assert [one.what for one in memory.history()] == ["create", "write", "write id7"]

    asyncio.run(main())


def test_what_is_refused_is_told_and_what_nobody_wants_is_not_written(model: MPlus) -> None:
    async def main() -> None:
        setup, memory = Setup(model, EngineLimits(writes_waiting=2)), model.new_memory()
        empty: Promise[Receipt] = Promise()
        setup.writes.add(WriteRequest(memory, " ", "a", False, None, empty))
        dropped = setup.ask(memory, 10)
        with pytest.raises(OverloadedError):
            setup.ask(memory, 10)
        dropped.future.cancel()
        setup.finish()
        with pytest.raises(EmptyTextError):
            await empty.future
        assert not memory.writes

    asyncio.run(main())
