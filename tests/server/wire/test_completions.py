from __future__ import annotations

from typing import Any

import pytest

from memplus.server.engine.requests import TokenScore
from memplus.server.faults import RequestFault
from memplus.server.wire.completions import CompletionRequest, logprobs_of


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
    tokens = ["The", TokenScore(1, " gate", -0.5, ((1, " gate", -0.5),)), TokenScore(2, "!", -2.0)]
    assert logprobs_of(tokens) == {
        "tokens": ["The", " gate", "!"],
        "token_logprobs": [None, -0.5, -2.0],
        "top_logprobs": [None, {" gate": -0.5}, {}],
        "text_offset": [0, 3, 8],
    }
    assert logprobs_of(tokens, 5)["text_offset"] == [5, 8, 13]
