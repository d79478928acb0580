from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server.serving import Served, serving

from memplus.mplus.model import MPlus


def test_a_request_keeps_its_id(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        given = client.get("/health", headers={"x-request-id": "abc-1"})
        assert given.headers["x-request-id"] == "abc-1"
        for bad in ("a b", "x" * 200, "\u00e9"):
            answer = client.get("/v1/none", headers={"x-request-id": bad.encode("latin-1")})
            assert answer.headers["x-request-id"].startswith("req_")
        seen = {client.get("/health").headers["x-request-id"] for _ in range(3)}
        assert len(seen) == 3


def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, body_bytes=1000) as served, served.client() as client:
        told = client.post("/v1/models", content=b"x" * 1001)
        assert told.status_code == 413
        assert told.json()["error"]["code"] == "request_too_large"


def test_a_body_that_does_not_say_its_length_is_cut_off_too(tmp_path: Path, nano: MPlus) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    with serving(tmp_path, nano, body_bytes=1000) as served, served.client() as client:
        answer = client.post("/v1/memories", content=pieces())
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"
        assert client.get("/health").is_success


def sent(served: Served, *pieces: bytes) -> bytes:
    """What comes for these pieces of a request, each sent a little after the one before."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.2)
        return connection.recv(10_000)


POST = b"POST /v1/memories/a/writes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n"


def test_who_is_refused_while_it_still_sends_hears_why(tmp_path: Path, nano: MPlus) -> None:
    """And may use its connection for the next request."""
    with serving(tmp_path, nano, requests=0) as served:
        answer = sent(served, POST + b"\r\n" + b"x" * 100_000, b"x" * 100_000)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"overloaded" in answer
        assert b"retry-after: 1" in answer.lower()
        assert b"connection: close" not in answer.lower()


def test_a_body_that_does_not_come_frees_its_place(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, requests=1, body_seconds=0.5) as served:
        answer = sent(served, POST + b"\r\n", b"half")
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"request_timeout" in answer
        assert served.services.running_requests == 0
        with served.client() as client:
            assert client.get("/v1/memories").json()["data"] == []


def test_a_body_that_comes_a_byte_at_a_time_frees_its_place_too(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano, requests=1, body_seconds=1.0, least_rate=1000) as served:
        host, port = served.url.removeprefix("http://").split(":")
        answer = b""
        with socket.create_connection((host, int(port)), timeout=0.2) as connection:
            connection.sendall(POST + b"\r\n")
            for _ in range(50):
                connection.sendall(b"x")  # it is never silent for long
                with contextlib.suppress(TimeoutError):
                    answer = connection.recv(10_000)
                    break
        assert answer.startswith(b"HTTP/1.1 408")
        assert served.services.running_requests == 0


def test_a_body_that_keeps_its_pace_may_take_longer_than_any_silence(
    tmp_path: Path, nano: MPlus
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"text": "'
        for _ in range(10):
            time.sleep(0.1)
            yield b"The gate is red. " * 10
        yield b'"}'

    with serving(tmp_path, nano, body_seconds=0.5, least_rate=100) as served:
        headers = {"Content-Type": "application/json"}
        with served.client() as client:
            answer = client.post("/v1/memories/a/writes", content=pieces(), headers=headers)
            assert answer.status_code == 201


def test_who_has_no_key_is_answered_without_the_body_and_takes_no_place_of_others(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano, keys=True, requests=1, body_seconds=0) as served:
        key = served.key()
        for head in (b"", b"Authorization: Bearer mp-wrong\r\n", b"Authorization: Basic eA==\r\n"):
            answer = sent(served, POST + head + b"\r\n", b"half")  # the rest never comes
            assert answer.startswith(b"HTTP/1.1 401")
            assert b"invalid_api_key" in answer
        form = b"Content-Type: multipart/form-data; boundary=b\r\n"
        files = POST.replace(b"writes", b"files") + form
        assert sent(served, files + b"\r\n", b"--b").startswith(b"HTTP/1.1 401")
        assert served.services.running_requests == 0
        with served.client(key) as client:
            assert client.get("/v1/memories").is_success


def test_while_it_drains_only_probes_are_answered(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        served.services.state = "draining"
        assert client.get("/health").is_success
        assert client.get("/ready").json() == {"status": "draining"}
        answer = client.get("/v1/models")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "draining"
        assert int(answer.headers["Retry-After"]) >= 1


def test_no_more_requests_at_once_than_allowed(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, requests=1) as served, served.client() as client:
        assert client.get("/v1/models").is_success
        served.services.running_requests += 1
        assert client.get("/v1/models").json()["error"]["code"] == "overloaded"
        assert client.get("/metrics").status_code != 503
        served.services.running_requests -= 1
        assert client.get("/v1/models").is_success


def test_a_line_for_each_request_tells_nothing_of_it(
    tmp_path: Path, nano: MPlus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "memplus.server.requests")
    with serving(tmp_path, nano) as served, served.client("secret-key") as client:
        client.get("/v1/models/nano@secret-memory", headers={"x-request-id": "abc"})
    assert any("abc GET" in line and " 404 " in line for line in caplog.messages)
    assert "secret" not in caplog.text


def test_what_nobody_foresaw_has_an_id_and_is_counted(
    tmp_path: Path, nano: MPlus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret")

    with serving(tmp_path, nano) as served, served.client() as client:
        monkeypatch.setattr(served.services.vault, "listed", fail)
        answer = client.get("/v1/memories", headers={"x-request-id": "abc"})
        assert answer.status_code == 500
        assert answer.headers["x-request-id"] == "abc"
        assert answer.json()["error"]["code"] == "internal_error"
        assert "secret" not in answer.text
        told = client.get("/metrics").text
    assert 'memplus_errors_total{code="internal_error"} 1.0' in told
    assert 'route="/v1/memories",status="500"' in told
    assert "request abc failed" in caplog.text
