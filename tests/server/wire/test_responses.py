from __future__ import annotations

from typing import Any

import pytest

from memplus.server.engine.requests import Finished
from memplus.server.faults import RequestFault
from memplus.server.wire.responses import ResponseRequest, response_body, response_usage


def request(**fields: Any) -> ResponseRequest:
    return ResponseRequest.model_validate({"model": "nano", "input": "Hi"} | fields)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"previous_response_id": "r", "conversation": "c"}, "previous_response_id"),
    ],
)
def test_what_would_change_the_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestFault) as error:
        request(**fields).check()
    assert error.value.fault.param == param


def test_what_changes_nothing_is_let_pass() -> None:
    request(
        tools=[],
        text={"format": {"type": "text"}, "verbosity": "low"},
        reasoning={"effort": "low"},
        truncation="auto",
        background=False,
    ).check()


def test_chances_are_told_when_asked_for() -> None:
    assert request().alternatives is None
    assert request(include=["message.output_text.logprobs"]).alternatives == 0
    assert request(top_logprobs=2).alternatives == 2


def test_a_response_says_how_it_was_asked_for() -> None:
    body = response_body(request(instructions="Be brief.", store=False), "r", 5, "c")
    assert body["status"] == "in_progress"
    assert body["instructions"] == "Be brief."
    assert body["conversation"] == {"id": "c"}
    assert body["store"] is False
    assert response_body(request(), "r", 5, "")["conversation"] is None
    assert response_usage(Finished("stop", 3, 2))["total_tokens"] == 5
