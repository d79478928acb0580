from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from memplus.mplus.model import MPlus
from memplus.server.engine.handing import AnswerStream, Outlet
from memplus.server.engine.requests import Finished, ReadRequest, Sampling
from memplus.server.measured import METER, MeasuredEngine, MeasuredStream, Meter
from memplus.server.metrics import Metrics


def counted(metrics: Metrics, name: str) -> float:
    value = metrics.registry.get_sample_value(f"memplus_{name}")
    assert value is not None, name
    return value


def test_what_the_engine_does_is_counted_and_charged(nano: MPlus) -> None:
    metrics = Metrics()

    async def run() -> tuple[Finished, int, int]:
        engine = MeasuredEngine(nano, metrics)
        engine.start()
        meter = Meter()
        METER.set(meter)
        memory = nano.new_memory()
        receipt = await engine.write(memory, "Marta Velez's locker code is 4821.")
        ids = tuple(nano.asker.encode("What is Marta Velez's locker code?"))
        last: Any = None
        async for one in engine.read(ReadRequest(memory, ids, Sampling(5))):
            last = one
        await engine.close(10)
        return last, receipt.tokens, meter.tokens

    end, written, charged = asyncio.run(run())
    assert counted(metrics, "written_tokens_total") == written
    assert counted(metrics, "prompt_tokens_total") == end.prompt_tokens
    assert counted(metrics, "generation_tokens_total") == end.completion_tokens
    assert charged == written + end.prompt_tokens + end.completion_tokens
    assert counted(metrics, "time_to_first_token_seconds_count") == 1
    assert counted(metrics, "inter_token_seconds_count") >= 1
    assert counted(metrics, "queue_seconds_count") == 1
    assert counted(metrics, "write_seconds_count") == 1


def test_an_answer_that_nobody_waits_for_gives_up_its_place() -> None:
    async def run() -> None:
        closed, dropped = Outlet(), Outlet()
        answer = MeasuredStream(AnswerStream(closed), Metrics())
        await answer.aclose()
        assert closed.unwanted
        answer = MeasuredStream(AnswerStream(dropped), Metrics())
        assert not dropped.unwanted
        del answer
        assert dropped.unwanted

    asyncio.run(run())


@pytest.mark.parametrize("how", ["closed", "cancelled", "left"])
def test_an_answer_that_is_given_up_costs_what_it_took(nano: MPlus, how: str) -> None:
    metrics, ids = Metrics(), tuple(nano.encode("The gate"))

    async def run() -> tuple[int, int]:
        engine = MeasuredEngine(nano, metrics)
        engine.start()
        meter = Meter()
        METER.set(meter)
        answer = engine.read(ReadRequest(None, ids, Sampling(1000, ignore_end=True)))
        for _ in range(5):
            await anext(answer)
        assert meter.tokens >= len(ids) + 5
        if how == "closed":
            await answer.aclose()
        elif how == "left":  # by a client that goes while a piece is sent
            meter.end()
        else:
            while True:
                waiting = asyncio.ensure_future(anext(answer))
                await asyncio.sleep(0)
                if waiting.cancel():
                    break
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
        charged, (read, generated) = meter.tokens, answer.spent
        await answer.aclose()
        await engine.close(10)
        assert read == len(ids)
        assert not meter.answers
        return charged, generated

    charged, generated = asyncio.run(run())
    assert len(ids) + 5 <= charged < len(ids) + 1000
    assert counted(metrics, "prompt_tokens_total") == len(ids)
    assert counted(metrics, "generation_tokens_total") == charged - len(ids) <= generated
