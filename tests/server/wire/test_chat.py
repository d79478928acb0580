from __future__ import annotations

from typing import Any

import pytest

from memplus.server.engine.requests import Finished, TokenScore
from memplus.server.faults import RequestFault
from memplus.server.prompts import Message
from memplus.server.wire.chat import (
    ChatRequest,
    chances,
    chat_body,
    chunk,
    read_messages,
    usage,
)

HEAD = {"id": "x", "created": 1, "model": "nano"}


def request(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate(
        {"model": "nano", "messages": [{"role": "user", "content": "a"}]} | fields
    )


def test_roles_count_as_three() -> None:
    given = [{"role": role, "content": role} for role in ("developer", "system", "user")]
    given.append({"role": "assistant", "content": None})  # type: ignore[dict-item]
    found = read_messages(request(messages=given).messages)
    assert found == (
        Message("system", "developer"),
        Message("system", "system"),
        Message("user", "user"),
        Message("assistant", ""),
    )


def test_calls_of_tools_are_refused_where_they_stand() -> None:
    calls = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"id": 1}]}]
    with pytest.raises(RequestFault) as error:
        read_messages(request(messages=calls).messages)
    assert error.value.fault.param == "messages.1.tool_calls"


def test_tools_that_are_not_to_be_called_change_nothing() -> None:
    request(tools=[{"type": "function"}], tool_choice="none").check()
    with pytest.raises(RequestFault):
        request(tools=[{"type": "function"}]).check()


def test_chances_are_told_when_asked_for() -> None:
    assert request().alternatives is None
    assert request(logprobs=True).alternatives == 0
    assert request(logprobs=True, top_logprobs=3).alternatives == 3


def test_a_token_is_told_with_its_bytes() -> None:
    (one,) = chances(
        [TokenScore(5, b"\xc3\xa9", -0.5, ((5, b"\xc3\xa9", -0.5), (6, b"\xc3", -1.0)))]
    )
    assert one["bytes"] == [0xC3, 0xA9]
    assert [other["token"] for other in one["top_logprobs"]] == ["é", "\ufffd"]
    assert one["top_logprobs"][1]["bytes"] == [0xC3]  # its own, not those of the mark


def test_an_answer_and_its_chunks_have_their_heads() -> None:
    end = Finished("length", 3, 2)
    body = chat_body(HEAD, "hi", end, None)
    assert {name: body[name] for name in HEAD} == HEAD
    assert body["choices"][0]["finish_reason"] == "length"
    assert usage(end)["total_tokens"] == 5
    piece = chunk(HEAD, {"content": "h"})
    assert piece["object"] == "chat.completion.chunk"
    assert piece["choices"][0]["finish_reason"] is None
