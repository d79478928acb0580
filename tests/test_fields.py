"""Plain values as checked dataclasses, and the names that say which options differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from memplus.errors import ConfigError
from memplus.fields import CheckedFields, changed, named, parse_spec, with_options


@dataclass(frozen=True)
class Cup:
    size: int = 1
    colour: Literal["white", "red"] = "white"
    broken: bool = False
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Mug(CheckedFields):
    handle: Literal["left", "right"] = "left"
    litres: float = 0.3
    full: bool = False
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Stein(Mug):
    lid: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.litres > 2:
            raise ConfigError("litres", value=self.litres, reason="too heavy")


@pytest.mark.parametrize("kind", [Mug, Stein])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("handle", "up", "'left' or 'right'"),
        ("handle", True, "'left' or 'right'"),
        ("litres", float("inf"), "finite"),
        ("litres", float("nan"), "finite"),
        ("litres", "1", "number"),
        ("full", 1, "boolean"),
        ("full", "true", "boolean"),
        ("marks", [1], "tuple"),
    ],
)
def test_values_are_of_their_fields_kinds_however_they_are_made(
    kind: type[Mug], name: str, value: object, said: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{name} cannot be .*{said}"):
        kind(**{name: value})  # type: ignore[arg-type]


def test_what_fits_is_taken_as_it_is_and_texts_are_read_where_they_are_texts() -> None:
    assert Stein(litres=1, lid="off", marks=(1, 2)).litres == 1
    given = {"litres": "1", "full": "true", "marks": "1,2", "lid": "off"}
    made = with_options(Stein, "stein", given)
    assert made == Stein(litres=1, full=True, marks=(1, 2), lid="off")
    with pytest.raises(ConfigError, match="lid cannot be 'of'"):
        Stein(lid="of")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"litres.*too heavy"):
        Stein(litres=3)
    with pytest.raises(ConfigError, match="stein:lid cannot be 'of'"):
        with_options(Stein, "stein", {"lid": "of"})


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
