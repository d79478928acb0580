"""Heads that come slowly, against a real uvicorn."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from memplus.server.heads import bounded_heads

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
def served(seconds: float) -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(
        slow, port=0, http=bounded_heads(seconds), log_config=None, lifespan="off"
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
    with served(SECONDS) as place, connected(place) as client:
        began = time.monotonic()
        client.sendall(before)
        assert ended(client)
        assert 0.8 * SECONDS < time.monotonic() - began < 15


def test_bytes_now_and_then_do_not_hold_a_connection() -> None:
    with served(SECONDS) as place, connected(place) as client:
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
    with served(SECONDS) as place, connected(place) as client:
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


def test_without_a_bound_it_is_the_librarys_own() -> None:
    assert bounded_heads(0.0) == "h11"
