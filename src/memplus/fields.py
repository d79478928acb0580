"""Plain values as checked dataclasses: of a config file, or of ``NAME:FIELD=VALUE`` on a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from memplus.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["WHOLE", "CheckedFields", "changed", "checked", "named", "parse_spec", "with_options"]

_T = TypeVar("_T")
WHOLE = "the whole"
"""Names no field, but all of what was given."""

_EXACT = ConfigDict(strict=True, allow_inf_nan=False)


class CheckedFields:
    """Base of dataclasses whose values are of their fields' kinds however they are made.

    A text stands for itself alone here; ``checked`` and ``with_options`` read values from texts.
    What checks more in its own ``__post_init__`` calls this one first.

    Raises:
        ConfigError: of the first value that is of another kind, is none of those there are, or is
            no finite number.
    """

    def __post_init__(self) -> None:
        own: Any = type(self)
        for name, kind in _kinds(own).items():
            value = getattr(self, name)
            try:
                kind.validate_python(value)
            except ValidationError as error:
                raise ConfigError(name, value=value, reason=_reason(error.errors()[0])) from error


@cache
def _kinds(kind: type[Any]) -> dict[str, TypeAdapter[Any]]:
    """What checks the values of a dataclass's fields."""
    hints = get_type_hints(kind)
    return {one.name: TypeAdapter(hints[one.name], config=_EXACT) for one in fields(kind)}


def checked(kind: type[_T], raw: object) -> _T:
    """A dataclass from plain values.

    Raises:
        ConfigError: of the first field that is wrong.
    """
    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(one) for one in fault["loc"]) or WHOLE
        raise ConfigError(name, value=_value(fault), reason=_reason(fault)) from error


def parse_spec(text: str, what: str) -> tuple[str, dict[str, str]]:
    """A name with its options: ``bm25:k=8:order=position``.

    Args:
        text: as it was given.
        what: is named, for the message.

    Raises:
        ConfigError: an option has no value, or is given twice.
    """
    name, *given = text.strip().split(":")
    options: dict[str, str] = {}
    for one in given:
        option, equals, value = one.partition("=")
        if not (option and equals and value):
            reason = "an option looks like NAME:OPTION=VALUE"
            raise ConfigError(what, value=text, reason=reason)
        if option in options:
            raise ConfigError(what, value=text, reason=f"{option} is given twice")
        options[option] = value
    return name, options


def with_options(kind: type[_T], name: str, options: Mapping[str, str]) -> _T:
    """A dataclass from the options behind a name.

    Args:
        kind: its fields are the options there are; a tuple's items stand between commas.
        name: whose options they are, for the message.
        options: as ``parse_spec`` returned them.

    Raises:
        ConfigError: there is no such option, or one cannot have that value.
    """
    known = {one.name: one for one in fields(cast("type[DataclassInstance]", kind))}
    for option, value in options.items():
        if option not in known:
            there = f"there are {', '.join(known)}" if known else f"{name} has none"
            reason = f"there is no such option; {there}"
            raise ConfigError(f"{name}:{option}", value=value, reason=reason)
    values = {
        option: value.split(",") if str(known[option].type).startswith("tuple") else value
        for option, value in options.items()
    }
    try:
        return checked(kind, values)
    except ConfigError as error:
        found, reason = error.fields, str(error.fields["reason"])
        raise ConfigError(
            f"{name}:{found['field']}", value=found["value"], reason=reason
        ) from error


def changed(options: DataclassInstance) -> dict[str, Any]:
    """The fields that differ from their defaults, with their values, in their order."""
    found = {}
    for one in fields(options):
        default = one.default if one.default_factory is MISSING else one.default_factory()
        value = getattr(options, one.name)
        if value != default:
            found[one.name] = value
    return found


def named(name: str, options: Mapping[str, Any]) -> str:
    """What ``parse_spec`` reads: the name, and options behind it."""
    return ":".join([name, *(f"{option}={_shown(value)}" for option, value in options.items())])


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(_shown(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(fault: Mapping[str, Any]) -> object:
    return None if fault["type"].startswith("missing") else fault["input"]


def _reason(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "unexpected_keyword_argument":
        return "there is no such field"
    if fault["type"].startswith("missing"):
        return "it is missing"
    return str(fault["msg"]).removeprefix("Value error, ").lower()
