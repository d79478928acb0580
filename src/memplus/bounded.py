"""Checks of plain values, by the name of the field that holds them.

Shapes and models are none of its business: numbers, texts and fields of JSON objects alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from memplus.errors import ConfigError

__all__ = ["flag", "is_text", "known_fields", "number", "require", "whole", "words"]


def require(ok: bool, name: str, value: object, reason: str) -> None:
    """Refuse a value of a field.

    Raises:
        ConfigError: ``ok`` is false.
    """
    if not ok:
        raise ConfigError(name, value=value, reason=reason)


def whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """A whole number in its bounds; True and 3.0 are none, whatever Python thinks."""
    if type(value) is not int:
        raise ConfigError(name, value=value, reason="it must be a whole number")
    require(value >= least, name, value, f"it must be at least {least}")
    require(most is None or value <= most, name, value, f"it must be at most {most}")


def number(name: str, value: object, least: float, most: float = math.inf) -> None:
    """A finite number in its bounds."""
    finite = type(value) is int or (isinstance(value, float) and math.isfinite(value))
    if not finite or not isinstance(value, int | float):
        raise ConfigError(name, value=value, reason="it must be a finite number")
    require(value >= least, name, value, f"it must be at least {least:g}")
    require(value <= most, name, value, f"it must be at most {most:g}")


def is_text(value: object) -> bool:
    """Whether it is text that UTF-8 can hold: JSON spells half characters too."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def words(name: str, value: object) -> None:
    """A tuple of texts, none of them empty."""
    ok = isinstance(value, tuple) and all(is_text(one) and one for one in value)
    require(ok, name, value, "it must be a list of texts that are not empty")


def flag(name: str, value: object) -> None:
    """True or false, and nothing that counts as either."""
    require(isinstance(value, bool), name, value, "it must be true or false")


def known_fields(values: object, kind: type[Any], stem: str = "") -> dict[str, Any]:
    """The fields of a JSON object, each of them a field of ``kind``."""
    if not isinstance(values, Mapping):
        place = stem.rstrip(".") or "the config"
        raise ConfigError(place, value=values, reason="it must be an object with named fields")
    known = {one.name for one in fields(kind)}
    for name, value in values.items():
        require(name in known, f"{stem}{name}", value, "there is no such field")
    return dict(values)
