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
