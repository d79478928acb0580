"""Plain values as checked dataclasses, and the names that say which options differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from memplus.errors import ConfigError
from memplus.fields import changed, named, parse_spec, with_options


@dataclass(frozen=True)
class Cup:
    size: int = 1
    colour: Literal["white", "red"] = "white"
    broken: bool = False
    marks: tuple[int, ...] = ()


def test_a_name_and_its_options_are_read_back_as_they_are_shown() -> None:
    name, options = parse_spec("cup:size=3:broken=true:marks=1,2", "cup")
    made = with_options(Cup, name, options)
    assert made == Cup(size=3, broken=True, marks=(1, 2))
    assert named("cup", changed(made)) == "cup:size=3:broken=true:marks=1,2"
    assert named("cup", changed(Cup())) == "cup"


@pytest.mark.parametrize("text", ["cup:size", "cup:=3", "cup:size=", "cup:", "cup:size=1:size=2"])
def test_an_option_without_a_value_or_given_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_spec(text, "cup")


def test_an_unknown_option_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no such option; there are size, colour, broken, marks"):
        with_options(Cup, "cup", {"weight": "2"})
    with pytest.raises(ConfigError, match="cup:size cannot be 'big'"):
        with_options(Cup, "cup", {"size": "big"})
