"""The engine as those who ask it see it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from itertools import count

import pytest
import torch
from tests.fakes import make_mplus, several, some_ids
from tests.server.engine.asking import hear, question, running, until

from memplus import Memory, MPlus
from memplus.errors import (
    OverloadedError,
    PassFailedError,
    PositionsError,
    ShuttingDownError,
    UsageError,
)
from memplus.server.engine.engine import Engine
from memplus.server.engine.requests import EngineLimits, ReadRequest, Sampling


@pytest.fixture(scope="module")
def model() -> MPlus:
    return make_mplus()


def expected(model: MPlus, request: ReadRequest) -> str:
    """The text that ``generate`` gives alone."""
    ids = torch.tensor([request.ids])
    output = model.generate(ids, request.memory, max_new_tokens=request.sampling.max_new_tokens)
    return str(model.tokenizer.decode(output[0, len(request.ids) :], skip_special_tokens=True))


def test_many_answers_are_those_of_generate(model: MPlus) -> None:
    requests = [
        question(memory, seed, count=5 + 3 * seed, tokens=3 + seed)
        for seed, memory in enumerate([*several(model), None, *several(model)])
    ]

    async def main() -> list[str]:
        async with running(model, EngineLimits(running=5, prefill_tokens=4)) as engine:
            heard = await asyncio.gather(*(hear(engine, request) for request in requests))
            return [one.text for one in heard]

    assert asyncio.run(main()) == [expected(model, request) for request in requests]


def test_several_loops_may_ask(model: MPlus) -> None:
    engine = Engine(model)
    engine.start()
    request = question(several(model)[3])
    for _ in range(2):
        assert asyncio.run(hear(engine, request)).text == expected(model, request)
    asyncio.run(engine.close(20))


def test_an_answer_that_nobody_wants_frees_its_place(model: MPlus) -> None:
    async def main() -> None:
        async with running(model, EngineLimits(running=1)) as engine:
            stream = engine.read(question(None, count=200))
            await anext(stream)
            await stream.aclose()
            await hear(engine, question(None, count=2))
            assert engine.counts().cancelled == 1
            assert engine.counts().finished == 1

    asyncio.run(main())


def test_too_many_requests_are_refused_at_once(model: MPlus) -> None:
    async def main() -> None:
        async with running(model, EngineLimits(running=1, waiting=1)) as engine:
            first = engine.read(question(None, count=200))
            await anext(first)
            second = engine.read(question(None))
            with pytest.raises(OverloadedError) as refused:
                engine.read(question(None))
            assert int(str(refused.value.fields["retry_after"])) >= 1
            await first.aclose()
            assert await anext(second)
            assert engine.counts().refused == 1

    asyncio.run(main())


def test_who_waits_too_long_is_refused(model: MPlus) -> None:
    async def main() -> None:
        limits = EngineLimits(running=1, waiting_seconds=0.01)
        async with running(model, limits) as engine:
            first = engine.read(question(None, count=240))
            await anext(first)
            with pytest.raises(OverloadedError, match="no place"):
                await anext(engine.read(question(None)))
            await first.aclose()

    asyncio.run(main())


def test_a_wrong_request_fails_alone(model: MPlus) -> None:
    async def main() -> None:
        async with running(model) as engine:
            good = asyncio.ensure_future(hear(engine, question(None, count=40)))
            with pytest.raises(UsageError):
                await hear(engine, replace(question(None), ids=(999,)))
            with pytest.raises(PositionsError):
                await hear(engine, question(None, count=1000))
            assert (await good).text == expected(model, question(None, count=40))
            assert engine.counts().failed == 2

    asyncio.run(main())


def test_writes_are_made_and_seen_by_later_reads(model: MPlus) -> None:
    twin, memory = model.new_memory(), model.new_memory()
    text = some_ids(47, seed=2).tolist()
    receipt = model.write(twin, text, source="a")

    async def main() -> str:
        async with running(model) as engine:
            assert await engine.write(memory, text, source="a") == receipt
            return (await hear(engine, question(memory))).text

    assert asyncio.run(main()) == expected(model, question(twin))


def test_a_seed_gives_the_same_text_whatever_else_runs(model: MPlus) -> None:
    memory = several(model)[4]
    sampling = Sampling(24, temperature=1.3, top_p=0.9, seed=5, strip=False)
    request = replace(question(memory), sampling=sampling)

    async def main() -> None:
        async with running(model) as engine:
            alone = (await hear(engine, request)).text
            others = [
                replace(question(one, seed, tokens=4 + seed), sampling=replace(sampling, seed=seed))
                for seed, one in enumerate([*several(model), None])
            ]
            heard = await asyncio.gather(*(hear(engine, one) for one in [*others, request]))
            assert heard[-1].text == alone
            assert len({one.text for one in heard}) == len(heard)

    asyncio.run(main())


def test_chances_come_with_the_tokens(model: MPlus) -> None:
    request = replace(question(None), sampling=Sampling(8, logprobs=3, strip=False))
    ids = torch.tensor([request.ids])
    output = model.generate(
        ids, None, max_new_tokens=8, output_logits=True, return_dict_in_generate=True
    )
    logs = torch.stack(output.logits, dim=1)[0].log_softmax(-1)

    async def main() -> None:
        async with running(model) as engine:
            heard = await hear(engine, request)
            tokens = [token for piece in heard.pieces for token in piece.tokens]
            assert [one.id for one in tokens] == output.sequences[0, ids.shape[1] :].tolist()
            for one, row in zip(tokens, logs, strict=True):
                assert one.logprob == pytest.approx(float(row[one.id]), abs=1e-4)
                assert [id for id, _, _ in one.top] == row.topk(3).indices.tolist()

    asyncio.run(main())


def told(model: MPlus) -> Memory:
    memory = model.new_memory()
    model.write(memory, "Anna lives in Rome, and Bob in Paris. ", source="a")
    return memory


def test_evidence_and_abstention_are_those_of_ask(model: MPlus) -> None:
    memory = told(model)
    ids = tuple(model.asker.encode("Where?"))
    sampling = Sampling(6, stop=tuple(model.prompt.stop))
    whole = model.ask(memory, "Where?", max_new_tokens=6)
    least = min(1.0, whole.confidence + 0.01)

    async def main() -> None:
        async with running(model) as engine:
            heard = await hear(engine, ReadRequest(memory, ids, sampling, evidence=True))
            assert heard.text == whole.text
            assert heard.end.confidence == pytest.approx(whole.confidence, abs=1e-5)
            assert [one.write_id for one in heard.end.evidence] == [
                one.write_id for one in whole.evidence
            ]
            heard = await hear(engine, ReadRequest(memory, ids, sampling, min_confidence=least))
            assert heard.text == model.prompt.abstention
            assert heard.end.withheld == whole.text

    asyncio.run(main())


def test_retrieve_and_run_use_the_models_thread(model: MPlus) -> None:
    memory = told(model)

    async def main() -> None:
        async with running(model) as engine:
            assert await engine.retrieve(memory, "Where?") == model.retrieve(memory, "Where?")
            with pytest.raises(ZeroDivisionError):
                await engine.run(lambda: 1 / 0)

    asyncio.run(main())


def test_closing_ends_what_runs_and_takes_nothing_new(model: MPlus) -> None:
    async def main() -> None:
        engine = Engine(model)
        engine.start()
        request = question(None, count=30)
        heard = asyncio.ensure_future(hear(engine, request))
        await until(lambda: engine.counts().running)
        await engine.close(20)
        assert (await heard).text == expected(model, request)
        with pytest.raises(ShuttingDownError):
            engine.read(request)
        with pytest.raises(ShuttingDownError):
            await engine.run(int)

    asyncio.run(main())


@pytest.mark.long
def test_a_process_may_end_while_its_engine_works() -> None:
    program = """
import asyncio
from tests.fakes import make_mplus
from tests.server.engine.asking import question
from memplus.server.engine.engine import Engine

async def main():
    engine = Engine(make_mplus())
    engine.start()
    await anext(engine.read(question(None, count=240)))
    raise KeyError("unforeseen")

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("KeyError: 'unforeseen'")


def test_closing_in_no_time_ends_what_runs_with_an_error(model: MPlus) -> None:
    async def main() -> None:
        engine = Engine(model, EngineLimits(running=1))
        engine.start()
        streams = [engine.read(question(None, count=240)) for _ in range(3)]
        await anext(streams[0])
        await engine.close(0)
        for stream in streams:
            with pytest.raises(ShuttingDownError):
                async for _ in stream:
                    pass

    asyncio.run(main())


def test_writes_take_no_more_than_their_share_while_answers_are_asked_for(model: MPlus) -> None:
    """Time is counted in passes: every pass takes as long as every other."""
    engine = Engine(model, EngineLimits(write_share=0.2))
    clock = count()
    turns: list[str] = []

    async def main() -> None:
        answer = asyncio.ensure_future(hear(engine, question(None, count=60)))
        writing = asyncio.ensure_future(engine.write(model.new_memory(), some_ids(200).tolist()))
        await asyncio.sleep(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("memplus.server.engine.engine.time.perf_counter", lambda: next(clock))
            reads, writes = engine._reads.step, engine._writes.step
            patch.setattr(engine._reads, "step", lambda: (turns.append("read"), reads()))
            patch.setattr(
                engine._writes,
                "step",
                lambda hurried: (turns.append("write"), writes(hurried=hurried)),
            )
            while engine._reads.busy:
                engine._turn()
        assert (await answer).end.completion_tokens > 0
        while len(engine._writes):
            engine._turn()
        await writing

    asyncio.run(main())
    assert turns.count("write") == pytest.approx(len(turns) / 5, abs=1)


def test_an_error_of_the_engine_itself_is_told_and_it_goes_on(model: MPlus) -> None:
    async def main() -> None:
        async with running(model) as engine:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(engine._reads, "_admit", lambda: 1 / 0)
                with pytest.raises(PassFailedError, match="ZeroDivisionError"):
                    await hear(engine, question(None))
            assert (await hear(engine, question(None))).text == expected(model, question(None))

    asyncio.run(main())
