"""What makes a resumed run the one that was begun: its config, its texts, its model.

A run is described by plain values, by field: ``{"run.seed": 0, "data.texts": "sha256:..."}``. They
lie in every checkpoint, and whoever resumes compares. A field that only one side has is not
compared: another release may have added or removed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from memplus.errors import ConfigError
from memplus.errors.base import storage_errors
from memplus.training.engine.config_file import files_named

__all__ = ["Description", "content_of", "describe", "require_same"]

Description = Mapping[str, Any]
"""Plain values that JSON keeps as they are, by the field that they come from."""

_DIGEST = "sha256:"
_RECORD = "record.json"
_FREE = ("out", "steps", "report", "checkpoint", "keep", "tensorboard")
_FREE_OF_TEXTS = ("sharded", "store_on_cpu", "memory_gib", "save", "keeps_rows")
_FREE_FIELDS = frozenset(
    {*(f"run.{name}" for name in (*_FREE, *_FREE_OF_TEXTS)), "data.cache", "data.texts"}
    | {"model.backbone", "model.gradient_checkpointing", "base"}
)
"""They may differ: where a run lies and how it is watched, how far it goes, what is kept of it, and
where its texts and its base are, of which the content is compared."""


def describe(config: Any, content: Description) -> dict[str, Any]:
    """What a run's config and what it is made from are, field by field.

    A path that leads to a file stands for what the file holds, and one that leads to a trained
    folder for the folder's record, so that both may be moved.

    Args:
        config: a dataclass of plain values, paths, dataclasses and lists of these.
        content: by field, what the config only names: digests of texts and of a model.
    """
    return dict(_walk("", config)) | dict(content)


def content_of(parts: Iterable[bytes]) -> str:
    """What stands for a content in a description."""
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{len(part)} ".encode() + part)
    return f"{_DIGEST}{found.hexdigest()[:32]}"


def require_same(begun: Description, now: Description) -> None:
    """Refuse to resume a run as another one.

    Raises:
        ConfigError: a field differs.
    """
    for name in (one for one in begun if one in now):
        if begun[name] == now[name]:
            continue
        was = begun[name]
        said = "other content" if str(was).startswith(_DIGEST) else repr(was)
        reason = f"the run was begun with {said}; a run is resumed as what it was begun as"
        raise ConfigError(name, value=now[name], reason=reason)


def _walk(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if name in _FREE_FIELDS:
        return  # before anything is read: what it names may be large
    if is_dataclass(value):
        if name:
            yield name, type(value).__name__
        stem = f"{name}." if name else ""
        for one in fields(value):
            yield from _walk(f"{stem}{one.name}", getattr(value, one.name))
    elif isinstance(value, Mapping):
        yield name, {str(key): _plain(value[key]) for key in sorted(value)}
    elif isinstance(value, list | tuple) and any(is_dataclass(one) for one in value):
        yield name, len(value)
        for index, one in enumerate(value):
            yield from _walk(f"{name}.{index}", one)
    elif isinstance(value, list | tuple):
        yield name, [one for item in value for one in _items(item)]
    else:
        yield name, _plain(value)


def _items(value: Any) -> list[Any]:
    """An item of a list; a pattern stands for its files."""
    files = files_named(value) if isinstance(value, str) else []
    return [_plain(one) for one in files] or [_plain(value)]


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, str | Path) and (content := _content(Path(value))) is not None:
        return content
    return str(value)


def _content(path: Path) -> str | None:
    """What a file holds, or the record of a trained folder; None: it is neither."""
    try:
        file = path / _RECORD if path.is_dir() else path
        if not file.is_file():
            return None
    except (OSError, ValueError):  # a long text is no path
        return None
    with storage_errors(file), file.open("rb") as handle:
        return f"{_DIGEST}{hashlib.file_digest(handle, 'sha256').hexdigest()[:32]}"
