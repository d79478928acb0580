"""Checks of plain values name the field and say what it must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from memplus.bounded import flag, is_text, known_fields, number, require, whole, words
from memplus.errors import ConfigError


@dataclass
class Sizes:
    rows: int = 1


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (lambda: whole("n", 3.0, 1), "whole number"),
        (lambda: whole("n", True, 1), "whole number"),
        (lambda: whole("n", 0, 1), "at least 1"),
        (lambda: whole("n", 9, 1, 8), "at most 8"),
        (lambda: number("n", float("nan"), 0), "finite"),
        (lambda: number("n", True, 0), "finite"),
        (lambda: number("n", -0.5, 0), "at least 0"),
        (lambda: number("n", 2, 0, 1.5), "at most 1.5"),
        (lambda: words("n", ["a"]), "list of texts"),
        (lambda: words("n", ("a", "")), "list of texts"),
        (lambda: words("n", ("\ud800",)), "list of texts"),
        (lambda: flag("n", 1), "true or false"),
        (lambda: require(False, "n", 1, "so it is"), "so it is"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_its_name(
    check: Callable[[], None], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason) as error:
        check()
    assert "n" in str(error.value).split()[0]


def test_what_is_within_them_is_not() -> None:
    whole("n", 1, 1, 1)
    number("n", 1, 1, 1)
    words("n", ("a", "b"))
    flag("n", False)
    assert is_text("\u00e4")
    assert not is_text(b"a")
    assert known_fields({"rows": 2}, Sizes) == {"rows": 2}


def test_fields_that_are_not_known_are_named_with_their_place() -> None:
    with pytest.raises(ConfigError, match=r"sizes\.row\b"):
        known_fields({"row": 2}, Sizes, "sizes.")
    with pytest.raises(ConfigError, match="the config"):
        known_fields([], Sizes)
