from __future__ import annotations

import pytest

from memplus.errors import ConfigError
from memplus.fields import checked
from memplus.training.tasks.retriever_config import RetrieverConfig


def test_its_defaults_are_those_of_the_published_training() -> None:
    config = checked(RetrieverConfig, {})
    assert (config.loss, config.negative_weight, config.detach) == ("binary", 1.0, True)


@pytest.mark.parametrize(
    ("field", "value"), [("loss", "hinge"), ("learning_rate", "fast"), ("rate", 1e-4)]
)
def test_what_is_unknown_or_of_another_kind_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(RetrieverConfig, {field: value})
    assert caught.value.fields["field"] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", -1.0), ("weight", float("inf")), ("penalty", -0.1),
        ("negative_weight", float("nan")), ("temperature", 0.0), ("scored_stored", 0),
        ("forced", 1.5),
    ],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"retriever.{field}"):
        checked(RetrieverConfig, {field: value})


@pytest.mark.parametrize(
    ("field", "value", "spans"),
    [("detach", False, True), ("loss", "ranking", True), ("forced", 0.1, False)],
)
def test_what_would_do_nothing_is_refused(field: str, value: object, spans: bool) -> None:
    config = RetrieverConfig(**{field: value})
    config.check(spans=not spans)
    with pytest.raises(ConfigError, match="does nothing") as caught:
        config.check(spans=spans)
    assert caught.value.fields["field"] == f"retriever.{field}"
