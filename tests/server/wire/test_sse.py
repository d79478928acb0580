from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import Request
from sse_starlette import ServerSentEvent

from memplus.errors import PassFailedError
from memplus.server.faults import Fault, RequestFault
from memplus.server.settings import ServerSettings
from memplus.server.wire.sse import DONE, begun, event, last_of, streamed, unless_gone


def request_of(gone: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


async def numbers(closed: list[bool], *, fails: bool = False) -> AsyncGenerator[int, None]:
    try:
        if fails:
            raise RequestFault.invalid("no")
        yield 1
        yield 2
    finally:
        closed.append(True)


def test_work_is_done_where_the_client_stays() -> None:
    async def work() -> None:
        assert await unless_gone(request_of(asyncio.Event()), asyncio.sleep(0, 5)) == 5

    asyncio.run(work())


def test_work_is_given_up_when_the_client_goes_away() -> None:
    async def work() -> None:
        gone, ended = asyncio.Event(), []

        async def long() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(True)

        asyncio.get_running_loop().call_later(0.01, gone.set)
        with pytest.raises(RequestFault) as error:
            await unless_gone(request_of(gone), long())
        assert error.value.fault.code == "client_gone"
        assert ended

    asyncio.run(work())


def test_what_fails_before_the_first_item_fails_at_once() -> None:
    async def work() -> None:
        closed: list[bool] = []
        request = request_of(asyncio.Event())
        with pytest.raises(RequestFault):
            await begun(request, numbers(closed, fails=True))
        items = await begun(request, numbers(closed))
        assert [item async for item in items] == [1, 2]
        assert await last_of(numbers(closed), int) == 2
        assert len(closed) == 3

    asyncio.run(work())


def failed(fault: Fault) -> ServerSentEvent:
    return event(fault.body)


async def sent(events: AsyncGenerator[ServerSentEvent, None]) -> tuple[dict[str, str], str]:
    """Headers and body of a stream."""
    response = streamed(events, 15.0, failed)
    headers: dict[str, str] = {}
    body = b""

    async def send(message: Any) -> None:
        nonlocal body
        if message["type"] == "http.response.start":
            headers.update({k.decode(): v.decode() for k, v in message["headers"]})
        body += message.get("body", b"")

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    await response({"type": "http", "method": "POST"}, receive, send)
    return headers, body.decode()


def test_a_stream_that_fails_in_the_middle_says_so_and_ends() -> None:
    async def events() -> AsyncGenerator[ServerSentEvent, None]:
        yield event({"a": "é"})
        raise PassFailedError(reason="a secret path")

    async def whole() -> AsyncGenerator[ServerSentEvent, None]:
        yield event({"a": 1}, "named")
        yield DONE

    headers, body = asyncio.run(sent(events()))
    assert headers["cache-control"] == "no-cache"
    first, second, end = body.split("\n\n")
    assert first == 'data: {"a": "é"}'
    assert second.startswith('data: {"error": {"message": ')
    assert "secret path" not in second
    assert end == ""
    _, body = asyncio.run(sent(whole()))
    assert body == 'event: named\ndata: {"a": 1}\n\ndata: [DONE]\n\n'


def test_a_silent_stream_says_now_and_then_that_it_lives() -> None:
    async def slow() -> AsyncGenerator[ServerSentEvent, None]:
        yield event({"n": 1})
        await asyncio.sleep(0.5)
        yield DONE

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        answer = streamed(slow(), 0.05, lambda fault: event(fault.body))
        scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": []}
        await answer(scope, receive, send)

    asyncio.run(run())
    lines = b"".join(one.get("body", b"") for one in sent).decode().split("\n")
    comments = [line for line in lines if line.startswith(":")]
    assert len(comments) >= 3
    assert [line for line in lines if line and not line.startswith(":")] == [
        'data: {"n": 1}',
        "data: [DONE]",
    ]
    assert ServerSettings().ping_seconds == 15
