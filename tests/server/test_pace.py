"""Heads that come slowly and answers that nobody takes, against a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from memplus.server.pace import bounded_pace
from memplus.server.settings import ServerSettings

SECONDS = 0.5
WHOLE = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers only after more time than a head may take."""
    body = await receive()
    while body.get("more_body"):
        body = await receive()
    time.sleep(2 * SECONDS)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def served(application: Any = slow, **bounds: float) -> Iterator[tuple[str, int]]:
    settings = ServerSettings(**{"head_seconds": SECONDS} | bounds)  # type: ignore[arg-type]
    config = uvicorn.Config(
        application, port=0, http=bounded_pace(settings), log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join(30)


@contextlib.contextmanager
def connected(place: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(place, timeout=20) as made:
        yield made


def ended(client: socket.socket) -> bool:
    """Whether the server has closed the connection; waits until it has, or has said something."""
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("before", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: here\r\n"])
def test_a_head_that_does_not_end_is_given_up(before: bytes) -> None:
    with served() as place, connected(place) as client:
        began = time.monotonic()
        client.sendall(before)
        assert ended(client)
        assert 0.8 * SECONDS < time.monotonic() - began < 15


def test_bytes_now_and_then_do_not_hold_a_connection() -> None:
    with served() as place, connected(place) as client:
        client.settimeout(0.05)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for letter in WHOLE[:-1] * 20:
                client.sendall(bytes([letter]))
                with contextlib.suppress(TimeoutError):
                    if client.recv(1) == b"":
                        break
        assert time.monotonic() - began < 15


@pytest.mark.long
def test_a_request_may_take_its_time_once_its_head_is_there_and_others_follow() -> None:
    with served() as place, connected(place) as client:
        for _ in range(2):
            client.sendall(WHOLE)
            assert client.recv(1000).startswith(b"HTTP/1.1 204")
        client.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n")
        time.sleep(2 * SECONDS)  # a slow body has a bound of its own
        client.sendall(b"ab")
        assert client.recv(1000).startswith(b"HTTP/1.1 204")
        time.sleep(2 * SECONDS)  # an idle connection, too
        client.sendall(WHOLE[:9])
        assert ended(client)


class Sending:
    """An application that sends so many pieces, as long as its client takes them."""

    def __init__(self, pieces: int, size: int) -> None:
        self.pieces, self.size = pieces, size
        self.running = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        leaving = asyncio.create_task(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(self.pieces):
                if leaving.done():
                    break
                body = {"type": "http.response.body", "body": bytes(self.size), "more_body": True}
                await send(body)
            await send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()
            self.running -= 1


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def test_who_does_not_take_an_answer_holds_no_place_for_ever() -> None:
    application = Sending(1 << 30, 1 << 16)
    with served(application, send_seconds=SECONDS) as place, connected(place) as client:
        client.sendall(WHOLE)
        assert client.recv(1) == b"H"
        end = time.monotonic() + 30
        while application.running and time.monotonic() < end:
            time.sleep(0.01)
        assert not application.running


@pytest.mark.long
def test_who_takes_an_answer_slowly_gets_all_of_it() -> None:
    application = Sending(1, 1 << 24)
    with served(application, send_seconds=1.5) as place, connected(place) as client:
        client.sendall(WHOLE)
        end = b""
        while not end.endswith(b"0\r\n\r\n"):
            piece = client.recv(1 << 16)
            assert piece  # otherwise it was cut off
            end = (end + piece)[-5:]
            time.sleep(0.01)
