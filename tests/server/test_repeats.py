from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.server.test_exchange import GATE, ask, running

from memplus.mplus.model import MPlus
from memplus.server.engine.requests import Piece
from memplus.server.exchange import Ended
from memplus.server.faults import RequestFault
from memplus.server.kept_answers import Repeat
from memplus.server.ledger import Kept
from memplus.server.repeats import answered


def kept(ended: Ended, repeat: Repeat | None) -> Kept:
    body = {"text": ended.text, "memory": ended.memory}
    return Kept(body, repeat=None if repeat is None else replace(repeat, body=body))


def test_a_request_that_comes_again_gets_what_it_got(tmp_path: Path, nano: MPlus) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            request = ("key", {"messages": GATE.text})
            first = [item async for item in answered(services, ask(GATE), request, kept)]
            assert first[0] == Piece("Noted.")
            again = [item async for item in answered(services, ask(GATE), request, kept)]
            assert [item.body for item in again if isinstance(item, Kept)] == [first[1].body]  # type: ignore[union-attr]
            assert len(again) == 1
            with pytest.raises(RequestFault):
                await anext(answered(services, ask(GATE, memory="else"), request, kept))

    asyncio.run(work())


def test_while_the_first_is_answered_the_second_is_told_to_wait(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            request = ("key", {})
            first = answered(services, ask(GATE), request, kept)
            await anext(first)
            with pytest.raises(RequestFault) as error:
                await anext(answered(services, ask(GATE), request, kept))
            assert error.value.fault.status == 409
            assert error.value.fault.retry_after
            await first.aclose()  # given up: the next one is answered anew
            assert await anext(answered(services, ask(GATE), request, kept)) == Piece("Noted.")

    asyncio.run(work())


def test_where_nothing_is_to_be_stored_no_answer_is_kept_for_later(
    tmp_path: Path, nano: MPlus
) -> None:
    async def work() -> None:
        async with running(tmp_path, nano) as services:
            asked = ask(GATE, memory=None, keep=False)
            for _ in range(2):
                items = [item async for item in answered(services, asked, ("key", {}), kept)]
                assert isinstance(items[0], Piece)

    asyncio.run(work())
