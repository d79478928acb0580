"""Pages of other servers: which of them may call, and what they hear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.server.serving import serving
from tests.server.speaking import failure

from memplus.mplus.model import MPlus

APP = {"Origin": "https://app.example"}
ALLOWED: dict[str, Any] = {"allowed_origins": ("https://app.example",)}


def test_a_page_that_may_call_hears_every_refusal(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with (
        serving(tmp_path, nano, body_bytes=1000, requests_per_minute=9, keys=True, **ALLOWED) as at,
        at.client(at.key()) as client,
    ):
        answers = [
            client.get("/v1/models", headers=APP),
            client.post("/v1/memories", content=b"x" * 1001, headers=APP),
            client.post("/v1/memories", content=iter([b"x" * 600] * 2), headers=APP),
            client.get("/v1/models", headers=APP | {"Host": "evil.example"}),
            client.get("/v1/models", headers=APP | {"Authorization": "Bearer no"}),
        ]
        monkeypatch.setattr(at.services.vault, "listed", fail)
        answers.append(client.get("/v1/memories", headers=APP))
        at.services.running_requests += 1000
        answers.append(client.get("/v1/models", headers=APP))
        at.services.running_requests -= 1000
        at.services.state = "draining"
        answers.append(client.get("/v1/models", headers=APP))
        asking = {"Access-Control-Request-Method": "POST"}
        answers.append(client.options("/v1/models", headers=APP | asking))
    assert [one.status_code for one in answers] == [200, 413, 413, 400, 401, 500, 503, 503, 200]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == APP["Origin"]
        assert len(answer.headers.get_list("x-request-id")) == 1
    for answer in answers[:-1]:
        shown = answer.headers["access-control-expose-headers"].lower().split(", ")
        ours = {name for name in answer.headers if name.startswith(("x-", "retry-"))}
        assert ours <= {*shown, "x-frame-options", "x-content-type-options"}
    assert "x-ratelimit-remaining-requests" in answers[0].headers
    assert "retry-after" in answers[-2].headers


def test_a_page_that_may_call_does_nothing_under_another_host(tmp_path: Path, nano: MPlus) -> None:
    evil = {"Host": "evil.example"}
    with serving(tmp_path, nano, **ALLOWED) as served, served.client() as client:
        for origin in ({}, APP, {"Origin": "http://evil.example"}):
            made = client.post("/v1/memories", json={"id": "ann"}, headers=origin | evil)
            assert failure(made, 400) == "host_not_allowed"
            told = made.headers.get("access-control-allow-origin")
            assert told == (APP["Origin"] if origin == APP else None)
        assert client.get("/v1/memories").json()["data"] == []


def test_pages_of_others_get_nothing_unless_they_are_named(tmp_path: Path, nano: MPlus) -> None:
    origin = "https://app.example"
    for allowed in ((), (origin,)):
        with serving(tmp_path, nano, allowed_origins=allowed) as served, served.client() as client:
            answer = client.get("/v1/models", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == (
                origin if allowed else None
            )
