"""Checks of a benchmark's options, however they were given: by a flag, ``--set`` or Python."""

from __future__ import annotations

from collections.abc import Sequence

from memplus.config import require

__all__ = ["require_each", "require_least", "require_most"]


def require_least(name: str, value: int, least: int = 1) -> None:
    """Refuse a number that is too small.

    Raises:
        ConfigError: it is.
    """
    require(value >= least, name, value, f"it must be at least {least}")


def require_most(name: str, value: int, most: int) -> None:
    """Refuse a number of notes above that of names which there are for them.

    Raises:
        ConfigError: it is.
    """
    require(value <= most, name, value, f"there are names for {most}, each of a note")


def require_each(name: str, values: Sequence[int | str], least: int | None = None) -> None:
    """Refuse an option of several values that has none, one of them twice, or one too small.

    What stands twice would be asked twice, and count twice in every figure and interval.

    Raises:
        ConfigError: it does.
    """
    require(bool(values), name, "", "at least one is needed")
    for index, value in enumerate(values):
        if isinstance(value, int) and least is not None:
            require_least(name, value, least)
        require(value not in values[:index], name, value, "it is named twice")
