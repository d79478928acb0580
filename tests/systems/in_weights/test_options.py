from __future__ import annotations

from typing import Any

import pytest
from tests.systems.conftest import SHARED

from memplus.errors import ConfigError
from memplus.systems.in_weights.options import InWeightsOptions
from memplus.systems.registry import make_systems


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0},
        {"alpha": 0},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"piece_tokens": 1},
    ],
)
def test_what_cannot_be_trained_with_is_refused_by_name(changes: dict[str, Any]) -> None:
    ((field, value),) = changes.items()
    with pytest.raises(ConfigError) as raised:
        InWeightsOptions(**changes)
    assert raised.value.fields["field"] == field
    assert raised.value.fields["value"] == value


def test_options_come_from_a_line() -> None:
    (system,) = make_systems(["in_weights:learning_rate=5e-4:framing=message"], SHARED)
    assert system.name == "in_weights:learning_rate=0.0005:framing=message"
    with pytest.raises(ConfigError, match="in_weights:framing cannot be 'chat'"):
        make_systems(["in_weights:framing=chat"], SHARED)
