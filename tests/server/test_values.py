from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send
from tests.server.serving import Served, serving
from tests.server.speaking import failure

from memplus.mplus.model import MPlus
from memplus.server.faults import RequestFault
from memplus.server.values import ValueCount, ValuesMiddleware, too_many

JSON = {"Content-Type": "application/json"}
MOST = 50
MANY = "[" + ",".join(["[]"] * MOST) + "]"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("{}", 1),
        ("[1, 2, [3, {}]]", 6),
        (r'{"a, [b": "c, \" , {", "d": "\\", "e": 1}', 3),
        (r'["\\\\", "\\\",", "\\"]', 3),
        ('"one, two, three"', 0),
    ],
)
def test_commas_and_brackets_count_outside_of_texts_however_they_come(
    text: str, count: int
) -> None:
    json.loads(text)
    body = text.encode()
    for size in range(1, len(body) + 1):
        counted = ValueCount()
        for begin in range(0, len(body), size):
            counted.add(body[begin : begin + size])
        assert counted.count == count, size


def test_a_long_text_is_one_value() -> None:
    body = json.dumps({"text": 'a, [b], {c} \\ " ' * 10_000}).encode()
    assert not too_many(body, 2)


def test_whether_there_are_too_many_is_asked_of_a_whole_text() -> None:
    body = b"[" + b"1," * 100_000 + b"1]"
    assert too_many(body, 100_000)
    assert not too_many(body, 100_001)
    assert not too_many(body, 0)


def test_a_request_is_read_no_further_than_the_first_value_too_many() -> None:
    read: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass

    async def receive() -> Message:
        read.append(1)
        return {"type": "http.request", "body": b"[]," * 10, "more_body": len(read) < 100}

    async def send(message: Message) -> None: ...

    async def asked(kind: bytes, most: int, path: str = "/v1/memories") -> None:
        read.clear()
        scope = {"type": "http", "path": path, "headers": [(b"content-type", kind)]}
        await ValuesMiddleware(app, most)(scope, receive, send)

    for kind in (b"application/json", b"Application/JSON; charset=utf-8", b"application/x+json"):
        with pytest.raises(RequestFault):
            asyncio.run(asked(kind, 50))
        assert len(read) == 3
    asyncio.run(asked(b"application/octet-stream", 50))
    assert len(read) == 100
    asyncio.run(asked(b"application/json", 0))
    assert len(read) == 100
    asyncio.run(asked(b"application/json", 50, "/v1/memories:import"))  # a file, which is not read
    assert len(read) == 100


def test_on_every_route_and_tool_too_many_values_are_refused(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, body_values=MOST) as served, served.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
        posts = [
            path
            for path, of in paths.items()
            if "application/json" in of.get("post", {}).get("requestBody", {}).get("content", {})
        ]
        assert len(posts) >= 14
        for path in [*posts, "/mcp"]:
            body = f'{{"model": "nano", "x": {MANY}}}'
            answer = client.post(path.format(memory="a", id="conv_1"), content=body, headers=JSON)
            assert failure(answer, 413) == "request_too_large", path
        assert client.get("/health").is_success
        fits = {"text": "One, two, three. " * 100}
        assert client.post("/v1/memories/a/writes", json=fits).status_code == 201


def test_as_many_values_as_a_server_takes_are_taken(served: Served, client: httpx.Client) -> None:
    most = served.services.settings.body_values
    body = {"model": "nano", "messages": [{"role": "user", "content": "Hello."}], "store": False}
    fits = client.post("/v1/chat/completions", json=body | {"x": [0] * (most - 20)})
    assert fits.status_code == 200, fits.text
    more = client.post("/v1/chat/completions", json=body | {"x": [0] * most})
    assert failure(more, 413) == "request_too_large"
