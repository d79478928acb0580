from __future__ import annotations

import asyncio

import pytest

from memplus.errors import OverloadedError
from memplus.server.engine.calls import Calls
from memplus.server.engine.handing import Promise
from memplus.server.engine.requests import EngineLimits


def test_calls_are_made_in_order_and_an_error_is_its_callers() -> None:
    async def main() -> None:
        calls = Calls(EngineLimits())
        promises: list[Promise[float]] = [Promise() for _ in range(3)]
        for number, promise in enumerate(promises):
            calls.add(lambda number=number: 1 / (number - 1), promise)
        for _ in promises:
            calls.step()
        assert len(calls) == 0
        assert await promises[0].future == -1
        with pytest.raises(ZeroDivisionError):
            await promises[1].future
        assert await promises[2].future == 1

    asyncio.run(main())


def test_a_call_that_nobody_waits_for_any_more_is_not_made() -> None:
    async def main() -> None:
        calls, made = Calls(EngineLimits()), list[int]()
        promise: Promise[None] = Promise()
        calls.add(lambda: made.append(1), promise)
        promise.future.cancel()
        calls.step()
        assert not made

    asyncio.run(main())


def test_too_many_are_refused() -> None:
    async def main() -> None:
        calls = Calls(EngineLimits(writes_waiting=1))
        promise: Promise[int] = Promise()
        calls.add(int, promise)
        with pytest.raises(OverloadedError):
            calls.add(int, Promise())
        calls.fail_all(KeyError("end"))
        with pytest.raises(KeyError):
            await promise.future

    asyncio.run(main())
