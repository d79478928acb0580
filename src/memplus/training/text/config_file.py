"""A YAML file as a ``TrainingConfig``; whatever is wrong in it is named by its field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from memplus.errors import ConfigError
from memplus.errors.base import storage_error
from memplus.training.text.run_config import TrainingConfig

__all__ = ["load_config", "parse_config"]


class _Loader(yaml.SafeLoader):
    """YAML that refuses a field given twice, which the library's own loader overwrites."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        value = loader.construct_object(value_node, deep=True)
        if key in made:
            line = key_node.start_mark.line + 1
            raise ConfigError(str(key), value=value, reason=f"line {line} gives it again")
        made[key] = value
    return made


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_config(path: Path) -> TrainingConfig:
    """Read a config.

    Raises:
        NotFoundError, StorageError: the file is not there, or cannot be read.
        ConfigError: it is no YAML, or a field is unknown, missing, twice there, of the wrong kind
            or in contradiction to another.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise storage_error(path, error) from error
    return parse_config(text, source=str(path))


def parse_config(text: str, *, source: str = "the config") -> TrainingConfig:
    """The same from YAML text."""
    try:
        # A subclass of the safe loader: it makes plain values only.
        raw = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(source, value="its text", reason=f"it is no YAML: {reason}") from error
    if not isinstance(raw, Mapping):
        raise ConfigError(source, value=raw, reason="it must hold model, memory, data, tasks, run")
    try:
        return TypeAdapter(TrainingConfig).validate_python(raw)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"])
        raise ConfigError(name, value=fault["input"], reason=_reason(fault)) from error


def _reason(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "unexpected_keyword_argument":
        return "there is no such field"
    if fault["type"] in ("missing", "missing_argument"):
        return "it is missing"
    return str(fault["msg"]).removeprefix("Value error, ").lower()
