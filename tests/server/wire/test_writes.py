from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from memplus.server.wire.writes import AskRequest, Message, SearchRequest, WriteRequest


def test_parts_of_a_message_are_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert Message.model_validate({"role": "user", "content": parts}).text == "ab"
    assert Message.model_validate({"role": "user", "content": "ab", "name": "x"}).text == "ab"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "a", "messages": []},
        {"messages": [{"role": "tool", "content": "a"}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {"messages": [{"role": "user"}]},
        {"text": 3},
    ],
)
def test_what_is_no_text_and_no_turns_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WriteRequest.model_validate(body)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (AskRequest, {"question": ""}),
        (AskRequest, {"question": "a", "min_confidence": 1.5}),
        (AskRequest, {"question": "a", "max_tokens": 0}),
        (SearchRequest, {"query": "a", "limit": 0}),
        (SearchRequest, {"query": "a", "limit": 101}),
    ],
)
def test_questions_are_in_bounds(kind: Any, body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(body)
