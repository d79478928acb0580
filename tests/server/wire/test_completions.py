from __future__ import annotations

from typing import Any

import pytest

from memplus.server.engine.requests import TokenScore
from memplus.server.faults import RequestFault
from memplus.server.wire.completions import Columns, CompletionRequest


def request(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": "nano"} | fields)


def test_a_prompt_is_text_or_ids_one_or_several() -> None:
    for given, expected in (
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ):
        assert request(prompt=given).prompts == expected
    for bad in ("", [], ["a", ""], ["a"] * 129):
        with pytest.raises(RequestFault):
            assert request(prompt=bad).prompts


@pytest.mark.parametrize(
    "fields", [{"n": 2}, {"best_of": 3}, {"suffix": "x"}, {"stream": True, "prompt": ["a", "b"]}]
)
def test_what_would_change_the_answer_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestFault):
        request(**{"prompt": "a"} | fields).check()


def test_chances_stand_in_columns() -> None:
    top = ((1, b" gate", -0.5),)
    tokens = [b"The", TokenScore(1, b" gate", -0.5, top), TokenScore(2, b"!", -2.0)]
    columns = Columns()
    assert columns.of(tokens) == {
        "tokens": ["The", " gate", "!"],
        "token_logprobs": [None, -0.5, -2.0],
        "top_logprobs": [None, {" gate": -0.5}, {}],
        "text_offset": [0, 3, 8],
    }
    assert columns.of(tokens)["text_offset"] == [9, 12, 17]


def test_parts_of_characters_are_told_apart_and_begin_where_the_character_does() -> None:
    parts = [bytes([byte]) for byte in "é🙂".encode()]
    top = tuple((place, one, -1.0) for place, one in enumerate(parts))
    columns = Columns()
    first = columns.of([b"a", TokenScore(1, parts[0], -1.0, top)])
    second = columns.of([*parts[1:], b"z"])
    assert first["tokens"] == ["a", "bytes:\\xc3"]
    assert len(first["top_logprobs"][1]) == len(parts)
    assert first["text_offset"] + second["text_offset"] == [0, 1, 1, 2, 2, 2, 2, 3]
