from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.types import Message, Scope

from memplus.errors import StorageError
from memplus.server.ray.carried import CarriedRequest
from memplus.server.ray.ingress import Forwarding, Handed, Unreachable
from memplus.server.recent import RecentRequest

JSON: Message = {
    "type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]
}  # fmt: skip
EVENTS: Message = JSON | {"headers": [(b"content-type", b"text/event-stream; charset=utf-8")]}


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def figures() -> bytes:
    return b"figures 1\n"


class Client:
    """Sends one request to a forwarding, and keeps what comes back."""

    def __init__(self, hand: Handed, *, missed: Any = None, **bounds: Any) -> None:
        bounds = {"body_bytes": 100, "wait_seconds": 1.0} | bounds
        self.missed: list[tuple[str, RecentRequest]] = []
        self.forwarding = Forwarding(
            hand,
            lambda request: "acme/notes",
            figures,
            missed or (lambda request, kept: self.missed.append((request.path, kept))),
            **bounds,
        )
        self.got: list[Message] = []
        self.leaves = asyncio.Event()

    async def ask(self, *bodies: bytes, path: str = "/v1/x", id: bytes = b"of-the-proxy") -> None:
        headers = [(b"x-request-id", id)] if id else []
        scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        said = [piece(one) | {"type": "http.request"} for one in bodies]
        said[-1]["more_body"] = False

        async def receive() -> Message:
            if said:
                return said.pop(0)
            await self.leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.got.append(message)

        await self.forwarding(scope, receive, send)

    @property
    def status(self) -> int:
        return int(self.got[0]["status"])

    @property
    def ids(self) -> list[bytes]:
        return [value for name, value in self.got[0]["headers"] if name == b"x-request-id"]

    @property
    def fault(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.got[1]["body"])["error"]
        return found


def handing(
    *messages: Message | None, fails: Exception | None = None, kept: list[Any] | None = None
) -> Handed:
    """A replica that says this, and then fails."""

    async def hand(request: CarriedRequest, session: str) -> AsyncGenerator[Message | None, None]:
        try:
            for message in messages:
                yield message
            if fails is not None:
                raise fails
        finally:
            if kept is not None:
                kept.append((request.body, session, request.headers["x-request-id"]))

    return hand


def test_a_request_is_handed_on_whole_and_its_answer_passed_on() -> None:
    async def run() -> None:
        kept: list[Any] = []
        begun = JSON | {"headers": [*JSON["headers"], (b"x-request-id", b"my-own")]}
        client = Client(handing(None, begun, piece(b"a"), piece(b"b", more=False), kept=kept))
        await client.ask(b"one ", b"two", id=b"my-own")  # the proxy says it once more
        assert client.got == [JSON, piece(b"a"), piece(b"b", more=False)]
        assert kept == [(b"one two", "acme/notes", "my-own")]
        assert client.missed == []

    asyncio.run(run())


def test_a_body_is_bounded_and_health_needs_no_replica() -> None:
    async def run() -> None:
        kept: list[Any] = []
        client = Client(handing(None, JSON, kept=kept))
        await client.ask(b"x" * 60, b"x" * 60, id=b"large")
        assert (client.status, client.fault["code"]) == (413, "request_too_large")
        ((path, missed),) = client.missed
        assert (path, missed.id, missed.status, missed.code, missed.route) == (
            "/v1/x", "large", 413, "request_too_large", "-"
        )  # fmt: skip
        for path, answer in ("/health", b'{"status":"ok"}'), ("/metrics", b"figures 1\n"):
            client = Client(handing(None, JSON, kept=kept))
            await client.ask(b"", path=path, id=b"not an id")
            assert (client.status, client.got[1]["body"]) == (200, answer)
            assert client.ids[0].startswith(b"req_")
        assert kept == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("hand", "code", "says"),
    [
        (handing(fails=Unreachable(full=False)), "loading", "nothing was written"),
        (handing(fails=Unreachable(full=True)), "overloaded", "Too many"),
        (handing(None, fails=Unreachable(full=False)), "interrupted", "unknown"),
    ],
)
def test_a_client_is_told_what_became_of_a_request_that_nobody_answered(
    hand: Handed, code: str, says: str
) -> None:
    async def run() -> None:
        client = Client(hand)
        await client.ask(b"", id=b"")
        assert (client.status, client.fault["code"]) == (503, code)
        assert says in client.fault["message"]
        ((_, missed),) = client.missed
        assert (missed.status, missed.code) == (503, code)
        assert client.ids == [missed.id.encode()]
        assert (b"retry-after", b"2" if code == "loading" else b"1") in client.got[0]["headers"]

    asyncio.run(run())


def test_a_replica_that_does_not_begin_is_not_waited_for_for_ever() -> None:
    async def stuck(request: CarriedRequest, session: str) -> AsyncGenerator[Message | None, None]:
        await asyncio.Event().wait()
        yield None

    async def run() -> None:
        client = Client(stuck, wait_seconds=0.05)
        await client.ask(b"")
        assert (client.status, client.fault["code"]) == (503, "loading")

    asyncio.run(run())


def test_a_stream_that_breaks_off_says_so_and_another_answer_is_not_ended_cleanly() -> None:
    async def run() -> None:
        gone = Unreachable(full=False)
        client = Client(handing(None, EVENTS, piece(b"data: 1\n\n"), fails=gone))
        await client.ask(b"")
        assert client.got[:2] == [EVENTS, piece(b"data: 1\n\n")]
        last = client.got[-1]
        assert not last["more_body"]
        assert json.loads(last["body"].removeprefix(b"data: "))["error"]["code"] == "interrupted"
        assert [one.code for _, one in client.missed] == ["interrupted"]
        client = Client(handing(None, JSON, piece(b"half"), fails=gone))
        with pytest.raises(ConnectionError):
            await client.ask(b"")
        assert client.got == [JSON, piece(b"half")]

    asyncio.run(run())


def test_an_answer_that_is_whole_is_whole_whatever_happens_to_its_replica_then() -> None:
    async def run() -> None:
        gone = Unreachable(full=False)
        client = Client(handing(None, JSON, piece(b"all", more=False), fails=gone))
        await client.ask(b"")
        assert client.got == [JSON, piece(b"all", more=False)]
        assert client.missed == []

    asyncio.run(run())


def test_a_list_that_cannot_be_kept_costs_nobody_an_answer() -> None:
    def refusing(request: CarriedRequest, kept: RecentRequest) -> None:
        raise StorageError("server.db", reason="database is locked")

    async def run() -> None:
        client = Client(handing(fails=Unreachable(full=False)), missed=refusing)
        await client.ask(b"")
        assert (client.status, client.fault["code"]) == (503, "loading")

    asyncio.run(run())


def test_a_client_that_leaves_gives_up_its_answer() -> None:
    async def run() -> None:
        closed: list[str] = []

        async def slow(
            request: CarriedRequest, session: str
        ) -> AsyncGenerator[Message | None, None]:
            try:
                yield None
                yield EVENTS
                await asyncio.Event().wait()
            finally:
                closed.append(session)

        client = Client(slow)
        asking = asyncio.create_task(client.ask(b""))
        while not client.got:
            await asyncio.sleep(0.01)
        client.leaves.set()
        await asyncio.wait_for(asking, 5)
        assert client.got == [EVENTS]
        assert closed == ["acme/notes"]

    asyncio.run(run())
