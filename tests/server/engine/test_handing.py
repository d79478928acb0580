from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from memplus.server.engine.handing import AnswerStream, Outlet, Promise
from memplus.server.engine.requests import Finished, Piece

END = Finished("stop", 1, 1)


def test_what_a_thread_gives_comes_in_order_and_ends() -> None:
    async def main() -> list[Piece | Finished]:
        outlet = Outlet()
        stream = AnswerStream(outlet)
        threading.Thread(target=lambda: outlet.put(Piece("a"), Piece("b"), END)).start()
        return [item async for item in stream]

    assert asyncio.run(main()) == [Piece("a"), Piece("b"), END]


def test_an_error_is_raised_once() -> None:
    async def main() -> None:
        outlet = Outlet()
        stream = AnswerStream(outlet)
        outlet.put(Piece("a"), KeyError("no"))
        assert await anext(stream) == Piece("a")
        with pytest.raises(KeyError):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    asyncio.run(main())


def test_closing_cancelling_and_dropping_give_up() -> None:
    async def main() -> None:
        closed, cancelled, dropped = Outlet(), Outlet(), Outlet()
        await AnswerStream(closed).aclose()
        stream = AnswerStream(cancelled)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not cancelled.unwanted
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        AnswerStream(dropped)
        gc.collect()
        assert closed.unwanted
        assert cancelled.unwanted
        assert dropped.unwanted

    asyncio.run(main())


def test_giving_to_a_loop_that_has_ended_is_no_error() -> None:
    async def main() -> tuple[Outlet, Promise[int]]:
        return Outlet(), Promise()

    outlet, promise = asyncio.run(main())
    outlet.put(END)
    promise.keep(1)


def test_a_promise_is_kept_once() -> None:
    async def main() -> None:
        promise: Promise[int] = Promise()
        promise.keep(1)
        promise.keep(2)
        assert await promise.future == 1
        given_up: Promise[int] = Promise()
        given_up.future.cancel()
        assert not given_up.claim()
        given_up.keep(1)
        await asyncio.sleep(0)

    asyncio.run(main())


@pytest.mark.parametrize("failing", [False, True])
def test_who_is_cancelled_waits_for_what_was_begun_and_for_nothing_else(failing: bool) -> None:
    """What it works on would else be closed, or given to the next one, under its hands."""

    async def main() -> None:
        begun, not_begun = Promise[int](), Promise[int]()
        waiting = [asyncio.create_task(one.kept()) for one in (begun, not_begun)]
        await asyncio.sleep(0)
        assert begun.claim()
        for _ in range(3):
            for one in waiting:
                one.cancel()
            await asyncio.sleep(0.01)
        assert [one.done() for one in waiting] == [False, True]
        assert not not_begun.claim()
        if failing:
            begun.fail(KeyError("late"))
        else:
            begun.keep(1)
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in done] == [asyncio.CancelledError] * 2

    asyncio.run(main())
