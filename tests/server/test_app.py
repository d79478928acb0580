from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.server.serving import Served, serving
from tests.server.speaking import failure

from memplus.mplus.model import MPlus


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/nothing", 404, "not_found_error"),
        ("PUT", "/v1/models", 405, "invalid_request_error"),
        ("GET", "/v1/models?memories=perhaps", 400, "invalid_request_error"),
        ("GET", "/v1/models/gpt", 404, "not_found_error"),
        ("GET", "/v1/models/nano@none", 404, "not_found_error"),
    ],
)
def test_every_error_has_one_body(
    tmp_path: Path, nano: MPlus, method: str, path: str, status: int, kind: str
) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        answer = client.request(method, path)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["type"] == kind
        assert error["code"]
        assert str(tmp_path) not in answer.text


@pytest.mark.parametrize(
    ("path", "sent", "param"),
    [
        ("chat/completions", {"stop": 5}, "stop"),
        ("chat/completions", {"stop": ["a", 5]}, "stop"),
        ("chat/completions", {"memory": {"id": 5}}, "memory.id"),
        ("chat/completions", {"user": 5}, "user"),
        ("chat/completions", {"safety_identifier": 5}, "safety_identifier"),
        ("chat/completions", {"metadata": {"memory_id": 5}}, "metadata.memory_id"),
        ("completions", {"prompt": {"a": 1}}, "prompt"),
        ("completions", {"prompt": [True]}, "prompt"),
        ("memories/ann/writes", {"text": "a", "metadata": {"str": 5}}, "metadata.str"),
        ("memories/ann/writes", {"messages": [{"role": "user"}]}, "messages.0.content"),
        ("memories", {"id": 5}, "id"),
        ("memories", "{", None),
    ],
)
def test_a_refusal_names_the_field_as_it_was_sent(
    served: Served, path: str, sent: Any, param: str | None
) -> None:
    with served.client() as client:
        if path.endswith("completions"):
            sent = {"model": "nano", "messages": [{"role": "user", "content": "a"}]} | sent
        how = {"content": sent} if isinstance(sent, str) else {"json": sent}
        headers = {"Content-Type": "application/json"}
        answer = client.post(f"/v1/{path}", headers=headers, **how)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_body_that_is_not_sent_as_json_is_told_how(served: Served) -> None:
    text = b'{"text": "The gate is red."}'
    form, json = "application/x-www-form-urlencoded", "application/json"
    with served.client() as client:
        for content, kind in ((text, form), (text, ""), (b'"text"', json), (b"[1]", json)):
            headers = {"Content-Type": kind} if kind else {}
            answer = client.post("/v1/memories/ann/writes", content=content, headers=headers)
            assert failure(answer, 400) == "invalid"
            said = answer.json()["error"]["message"]
            assert said == "Send the body as a JSON object, with `Content-Type: application/json`."
        broken = client.post("/v1/memories", content=b"{", headers={"Content-Type": json})
        assert broken.json()["error"]["message"] == "The body: JSON decode error."


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/version"])
def test_who_only_watches_may_ask_for_the_head(served: Served, path: str) -> None:
    with served.client() as client:
        asked, whole = client.head(path), client.get(path)
        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers["content-length"] == whole.headers["content-length"]
        assert asked.headers["x-request-id"]
        served.services.state = "draining"
        try:
            assert client.head("/ready").status_code == 503
        finally:
            served.services.state = "ready"


def test_another_host_name_is_refused(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400


APP = {"Origin": "https://app.example"}
ALLOWED = {"allowed_origins": ("https://app.example",)}


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
