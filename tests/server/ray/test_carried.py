from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from memplus.server.ray.carried import CarriedRequest, Carrier

SCOPE: Scope = {
    "type": "http", "method": "POST", "path": "/a b", "query_string": b"x=1", "headers": [
        (b"x-memory-id", b"notes")
    ], "app": object(), "state": {},
}  # fmt: skip
START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    said = await receive()
    await send(START)
    for word in said["body"].split():
        await send({"type": "http.response.body", "body": word, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def test_a_request_is_plain_data_and_is_read_as_it_came() -> None:
    request = CarriedRequest.of(SCOPE, b"body")
    assert "app" not in request.scope
    assert "state" not in request.scope
    assert (request.path, request.query) == ("/a b", "x=1")
    assert request.headers["X-Memory-Id"] == "notes"
    assert request.unpacked()["type"] == "http"


def test_an_answer_comes_message_by_message() -> None:
    async def run() -> None:
        carrier = Carrier(echo)
        words = b" ".join(b"%d" % number for number in range(100))
        found = [one async for one in carrier.answer(CarriedRequest.of(SCOPE, words))]
        assert found[0] == START
        assert [one["body"] for one in found[1:-1]] == words.split()
        await carrier.close(0)

    asyncio.run(run())


def test_what_an_application_raises_is_raised() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        raise ZeroDivisionError

    async def run() -> None:
        found = []
        with pytest.raises(ZeroDivisionError):
            async for one in Carrier(fail).answer(CarriedRequest.of(SCOPE, b"")):
                found.append(one)
        assert found == [START]

    asyncio.run(run())


def test_who_closes_early_is_a_client_that_hung_up_and_the_application_ends_as_it_likes() -> None:
    ended: list[str] = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        for _ in range(50):  # more than may wait for a reader
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        ended.append((await receive())["type"])
        await asyncio.sleep(0.05)
        ended.append("written")

    async def run() -> None:
        carrier = Carrier(endless)
        answer = carrier.answer(CarriedRequest.of(SCOPE, b""))
        assert await anext(answer) == START
        await answer.aclose()
        await carrier.close(5)
        assert ended == ["http.disconnect", "written"]

    asyncio.run(run())


def test_what_does_not_end_in_time_is_cancelled() -> None:
    async def forever(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await asyncio.Event().wait()

    async def run() -> None:
        carrier = Carrier(forever)
        answer = carrier.answer(CarriedRequest.of(SCOPE, b""))
        await anext(answer)
        await answer.aclose()
        await carrier.close(0.01)
        assert not carrier._running

    asyncio.run(run())
