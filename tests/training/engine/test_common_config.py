from __future__ import annotations

import pytest

from memplus.errors import ConfigError
from memplus.fields import checked
from memplus.training.engine.common_config import Architecture, OptimizerConfig


def test_plain_values_become_parts() -> None:
    assert checked(Architecture, {"layers": 2}) == Architecture(layers=2)
    given = {"kind": "muon", "betas": [0.9, 0.98], "learning_rate": "1e-3"}
    made = checked(OptimizerConfig, given)
    assert made == OptimizerConfig("muon", 1e-3, betas=(0.9, 0.98))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Architecture, "width", 3),
        (Architecture, "layers", "two"),
        (OptimizerConfig, "kind", "sgd"),
        (OptimizerConfig, "momentum", 0.9),
    ],
)
def test_a_wrong_field_is_named(kind: type, field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(kind, {field: value})
    assert caught.value.fields["field"] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0), ("learning_rate", -1.0), ("learning_rate", float("nan")),
        ("weight_decay", -0.1), ("betas", (2.0, 0.5)), ("clip", 0.0), ("clip", -1.0),
        ("clip", float("nan")), ("warmup", -5), ("final", -3.0), ("final", 1.5),
    ],
)  # fmt: skip
def test_numbers_that_would_climb_the_loss_or_mean_nothing_are_refused(
    field: str, value: object
) -> None:
    with pytest.raises(ConfigError, match=f"optimizer.{field}"):
        OptimizerConfig(**{field: value})  # type: ignore[arg-type]
