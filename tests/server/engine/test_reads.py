"""Who is answered together, pass by pass, without a thread."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests.fakes import make_mplus, several, some_ids
from tests.server.engine.asking import question

from memplus import MPlus
from memplus.errors import PassFailedError
from memplus.mplus.joint_reader import JointReader
from memplus.passes.joint import ReadPiece
from memplus.server.engine.handing import Outlet
from memplus.server.engine.reads import Reads
from memplus.server.engine.requests import EngineLimits, Finished, Piece


@pytest.fixture(scope="module")
def model() -> MPlus:
    return make_mplus()


def spelt(model: MPlus) -> Any:
    return lambda ids: str(model.tokenizer.decode(ids, skip_special_tokens=True))


class Watched(JointReader):
    """Notes what every pass read, and fails where it is told to."""

    def __init__(self, model: MPlus) -> None:
        super().__init__(model.core)
        self.passes: list[list[int]] = []
        self.failing: int | None = None

    def step(self, pieces: Sequence[ReadPiece]) -> list[torch.Tensor | None]:
        self.passes.append([len(piece.ids) for piece in pieces])
        if any(self.failing in piece.read.prompt for piece in pieces):
            raise torch.OutOfMemoryError("no room")
        return super().step(pieces)


async def settled(outlet: Outlet) -> list[Any]:
    await asyncio.sleep(0)
    return [outlet.items.get_nowait() for _ in range(outlet.items.qsize())]


def test_a_long_prompt_is_read_in_pieces_while_others_are_answered(model: MPlus) -> None:
    async def main() -> None:
        reader = Watched(model)
        reads = Reads(reader, EngineLimits(prefill_tokens=10), spelt(model))
        short, long = Outlet(), Outlet()
        reads.submit(question(None, count=20, tokens=4), short)
        reads.step()
        reads.submit(question(None, count=1, tokens=35), long)
        for _ in range(4):
            reads.step()
        assert reader.passes == [[4], [1, 10], [1, 10], [1, 10], [1, 5]]
        assert isinstance((await settled(long))[-1], Finished)
        assert len(await settled(short)) >= 1
        assert reads.running == 1

    asyncio.run(main())


def test_a_pass_that_fails_fails_those_alone_that_cause_it(model: MPlus) -> None:
    async def main() -> None:
        reader = Watched(model)
        reads = Reads(reader, EngineLimits(), spelt(model))
        outlets = [Outlet() for _ in range(3)]
        for seed, outlet in enumerate(outlets):
            reads.submit(question(None, seed, count=3), outlet)
        reader.failing = int(some_ids(6, seed=1)[0])
        while reads.busy:
            reads.step()
        ends = [(await settled(outlet))[-1] for outlet in outlets]
        assert isinstance(ends[0], Finished)
        assert isinstance(ends[1], PassFailedError)
        assert "no room" in str(ends[1])
        assert isinstance(ends[2], Finished)
        assert (reads.finished, reads.failed) == (2, 1)

    asyncio.run(main())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_joining_leaving_and_writing_at_any_time_change_no_answer(model: MPlus, seed: int) -> None:
    """Requests come and go at random, and memories are written between two passes."""

    async def main() -> None:
        dice = random.Random(seed)
        reads = Reads(JointReader(model.core), EngineLimits(running=8), spelt(model))
        memories = [*several(model), None]
        going: list[tuple[Outlet, str]] = []
        for number in range(80):
            if number < 60 and dice.random() < 0.4:
                request = question(
                    dice.choice(memories), number, dice.randint(1, 20), dice.randint(1, 9)
                )
                outlet = Outlet()
                reads.submit(request, outlet)
                # It may wait for a place while its memory changes, so it is only followed where it
                # begins at once.
                if reads.waiting == 1 and reads.running < 8:
                    ids = torch.tensor([request.ids])
                    output = model.generate(
                        ids, request.memory, max_new_tokens=request.sampling.max_new_tokens
                    )
                    going.append((outlet, spelt(model)(output[0, ids.shape[1] :].tolist())))
                    if dice.random() < 0.2:
                        outlet.unwanted = True
            reads.step()
            written = dice.choice(memories[:-1])
            if written is not None and dice.random() < 0.5:
                tokens = dice.randint(1, 25)
                model.write(written, some_ids(tokens, seed=number).tolist(), source="later")
        while reads.busy:
            reads.step()
        followed = 0
        for outlet, expected in going:
            items = await settled(outlet)
            text = "".join(item.text for item in items if isinstance(item, Piece))
            if outlet.unwanted:
                assert expected.startswith(text)
                continue
            assert text == expected
            followed += 1
        assert followed > 8

    asyncio.run(main())
