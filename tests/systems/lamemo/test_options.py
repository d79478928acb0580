"""Options, and the number that brings the right in."""

import pytest

from memplus.errors import ConfigError
from memplus.systems.lamemo.options import LaMemoOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("segment", 0), ("memory", 0), ("rank", 0), ("alpha", 0), ("offset_steps", -1),
        ("offset", 0.5), ("offset", float("nan")),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        LaMemoOptions(**{name: value})  # type: ignore[arg-type]


def test_the_offset_rises_to_nothing() -> None:
    options = LaMemoOptions(offset=-5.0, offset_steps=10)
    assert [options.offset_at(step) for step in (0, 2, 5, 10, 99)] == [-5, -4, -2.5, 0, 0]
    assert LaMemoOptions(offset_steps=0).offset_at(0) == 0


def test_the_published_fault_is_an_option() -> None:
    assert LaMemoOptions().epsilon == 0
    assert LaMemoOptions(published=True).epsilon == 1e-6
