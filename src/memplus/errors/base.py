"""The root of the tree, and what every room may raise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

__all__ = ["ConfigError", "MemplusError", "StorageError", "UsageError"]


class MemplusError(Exception):
    """Root of the tree: ``except MemplusError`` catches whatever memplus raises on purpose.

    ``message`` and ``hint`` are separate for programs; ``str(error)`` joins them for people.
    Classes below fill ``template`` from typed arguments, kept in ``fields``.
    """

    template: ClassVar[str] = "{message}"
    hint: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        self._fill(message=message)

    def _fill(self, **fields: object) -> None:
        self.fields: dict[str, object] = fields
        self.message: str = self.template.format(**fields)
        Exception.__init__(self, self.message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Callable[..., MemplusError], tuple[object, ...]]:
        # Keyword-only constructors do not survive Exception's own pickling.
        return _rebuild, (type(self), self.fields)


def _rebuild(kind: type[MemplusError], fields: dict[str, object]) -> MemplusError:
    error = kind.__new__(kind)
    error._fill(**fields)
    return error


class UsageError(MemplusError):
    """The request itself is wrong; nothing was done."""

    exit_code = 2


class ConfigError(UsageError):
    """One field of a configuration cannot hold this value."""

    template = "{field} cannot be {value!r}: {reason}."
    hint = "Correct that field and try again."

    def __init__(self, field: str, *, value: object, reason: str) -> None:
        self._fill(field=field, value=value, reason=reason)


class StorageError(MemplusError):
    """The disk refused a read or a write; the old file, if any, is intact."""

    template = "{path} could not be stored or read: {reason}."
    hint = "Free some space or choose another place; what was there before is untouched."

    def __init__(self, path: str | Path, *, reason: str) -> None:
        self._fill(path=str(path), reason=reason)
