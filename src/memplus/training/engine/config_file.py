"""A YAML file as a checked dataclass; whatever is wrong in it is named by its field and its file.

Every run is read here, whatever it learns: a kind of run is a dataclass, and what pydantic cannot
know of a part of it (a memory, tasks of several kinds) that part checks itself through ``part`` and
``parts``, which put the part's name before the field's.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BeforeValidator, PlainValidator

from memplus.errors import ConfigError, ConfigFileError
from memplus.errors.base import storage_error
from memplus.fields import WHOLE, checked

__all__ = [
    "config_kind",
    "files_named",
    "files_of",
    "named_under",
    "parse_config_text",
    "part",
    "parts",
    "read_config_file",
]

_T = TypeVar("_T")


class _Loader(yaml.SafeLoader):
    """YAML that refuses a field given twice, which the library's own loader overwrites."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        value = loader.construct_object(value_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, Hashable):
            reason = f"line {line} has it in the place of a field's name"
            raise ConfigError(WHOLE, value=key, reason=reason)
        if key in made:
            raise ConfigError(str(key), value=value, reason=f"line {line} gives it again")
        made[key] = value
    return made


_NO_VALUE = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""What the library raises for text that is no YAML, and for a date or a tag that holds nonsense."""

_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def files_named(pattern: str) -> list[Path]:
    """The files of a name or a pattern, in order; a name may hold what stands for others in a
    pattern."""
    if os.path.isfile(pattern):
        return [Path(pattern)]
    found = sorted(Path(one) for one in glob.glob(pattern, recursive=True))
    return [one for one in found if one.is_file()]


def files_of(patterns: Sequence[str], field: str) -> list[Path]:
    """The files of names and patterns of a field, in order.

    Raises:
        ConfigError: a pattern names no file.
    """
    found: list[Path] = []
    for pattern in patterns:
        files = files_named(pattern)
        if not files:
            raise ConfigError(field, value=pattern, reason="there is no such file")
        found += files
    return found


def config_kind(path: Path) -> str | None:
    """What a config says of its ``kind`` at its top; None: nothing, or it cannot be read as YAML.

    Raises:
        NotFoundError, StorageError: the file is not there, or cannot be read.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise storage_error(path, error) from error
    except _NO_VALUE:
        return None  # whoever reads it whole says what is wrong
    found = raw.get("kind") if isinstance(raw, Mapping) else None
    return None if found is None else str(found)


def read_config_file(path: Path, kind: type[_T]) -> _T:
    """Read a config of a kind.

    Raises:
        NotFoundError, StorageError: the file is not there, or cannot be read.
        ConfigFileError: it is not YAML, or a field is unknown, missing, twice there, of the wrong
            kind or in contradiction to another.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise storage_error(path, error) from error
    try:
        return parse_config_text(text, kind)
    except ConfigError as error:
        fields = error.fields
        name, reason = str(fields["field"]), str(fields["reason"])
        raise ConfigFileError(path, name, value=fields["value"], reason=reason) from error


def parse_config_text(text: str, kind: type[_T]) -> _T:
    """The same from YAML text.

    Raises:
        ConfigError: as ``read_config_file``.
    """
    try:
        # A subclass of the safe loader: it makes plain values only.
        raw = yaml.load(text, Loader=_Loader)
    except _NO_VALUE as error:
        reason = " ".join(str(error).split())
        raise ConfigError(WHOLE, value=text[:40], reason=f"it is not YAML: {reason}") from error
    if not isinstance(raw, Mapping):
        reason = "it must be a mapping of fields to values"
        raise ConfigError(WHOLE, value=text[:40], reason=reason)
    return checked(kind, raw)


@contextlib.contextmanager
def named_under(stem: str) -> Iterator[None]:
    """Put the name of a part before the fields that are named inside."""
    try:
        yield
    except ConfigError as error:
        fields = error.fields
        name = f"{stem}.{fields['field']}".removesuffix(f".{WHOLE}")
        raise ConfigError(name, value=fields["value"], reason=str(fields["reason"])) from error


def entry(given: Any, key: str, kind_of: Callable[[str], type[_T]], known: Collection[str]) -> _T:
    """What an item of a list is: ``{KEY: KIND, ...}`` with the fields of that kind.

    Args:
        given: plain values.
        key: the field that names the kind.
        kind_of: the dataclass of a kind.
        known: all kinds.

    Raises:
        ConfigError: there is no such kind, or a field is not one of its own.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(WHOLE, value=given, reason=f"it must be fields and values, `{key}` first")
    fields = dict(given)
    kind = fields.pop(key, None)
    if not isinstance(kind, str) or kind not in known:
        raise ConfigError(key, value=kind, reason=f"the {key}s are {', '.join(known)}")
    return checked(kind_of(kind), fields)


def part(name: str, make: Callable[[Any], Any]) -> BeforeValidator:
    """Checks a field by a function of its plain values, which are a mapping."""

    def check(raw: object) -> object:
        if not isinstance(raw, Mapping):
            return raw
        with named_under(name):
            return make(raw)

    return BeforeValidator(check)


def parts(name: str, make: Callable[[Any], Any]) -> PlainValidator:
    """Checks a list by a function of each item, which answers for what it makes of it."""

    def check(raw: object) -> tuple[object, ...]:
        if not isinstance(raw, list | tuple):
            raise ConfigError(name, value=raw, reason="it must be a list")
        made = []
        for index, one in enumerate(raw):
            with named_under(f"{name}.{index}"):
                made.append(make(one))
        return tuple(made)

    return PlainValidator(check)
