from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.server.serving import Served, serving

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


def test_another_host_name_is_refused(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano) as served, served.client() as client:
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400


def test_pages_of_others_get_nothing_unless_they_are_named(tmp_path: Path, nano: MPlus) -> None:
    origin = "https://app.example"
    for allowed in ((), (origin,)):
        with serving(tmp_path, nano, allowed_origins=allowed) as served, served.client() as client:
            answer = client.get("/v1/models", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == (
                origin if allowed else None
            )
