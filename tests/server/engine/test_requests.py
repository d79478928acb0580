from __future__ import annotations

from typing import Any

import pytest

from memplus.errors import ConfigError
from memplus.server.engine.requests import EngineLimits, ReadRequest, Sampling


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.5},
        {"logprobs": 21},
        {"stop": ("",)},
    ],
    ids=str,
)
def test_sampling_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Sampling(**{"max_new_tokens": 4} | wrong)


@pytest.mark.parametrize("wrong", [{"min_confidence": 2}, {"asking": 0}], ids=str)
def test_a_request_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ReadRequest(None, (1,), Sampling(4), **wrong)


@pytest.mark.parametrize(
    "wrong", [{"running": 0}, {"waiting": 1.5}, {"write_share": 0}, {"write_share": 1}], ids=str
)
def test_limits_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        EngineLimits(**wrong)
