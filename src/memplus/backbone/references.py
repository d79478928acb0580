"""What a bundle says of its base, and nothing about where that is looked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from memplus.errors import ConfigError

__all__ = ["BaseReference", "parse_reference"]

_KINDS = ("name", "folder", "hub")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BaseReference:
    """The base of a bundle: what it is called, and what it is."""

    kind: Literal["name", "folder", "hub"]
    """What ``name`` is: one that `memplus models` lists, a directory, or a hub id."""
    name: str
    weights: str
    """SHA-256 of the base's stored weights, without whatever adapters lie beside them."""
    words: str | None = None
    """SHA-256 of its tokenizer's words and their ids; None: the bundle holds its own tokenizer, or
    there is none."""
    revision: str | None = None
    """Commit of a hub id."""


def parse_reference(file: Path, raw: object) -> BaseReference:
    """A reference from plain JSON values.

    Args:
        file: that they stand in, for messages.
        raw: the values.

    Raises:
        ConfigError: a field is unknown, missing, or cannot hold what it holds.
    """
    names = {one.name for one in fields(BaseReference)}
    if not isinstance(raw, dict) or not set(raw) <= names:
        reason = f"it must be an object with the fields {', '.join(sorted(names))}"
        raise ConfigError(f"{file}: base", value=raw, reason=reason)
    known: dict[str, Any] = raw

    def check(field: str, wanted: str, *, ok: bool) -> None:
        if not ok:
            value = known.get(field)
            raise ConfigError(f"{file}: base.{field}", value=value, reason=f"it must be {wanted}")

    check("kind", f"one of {', '.join(_KINDS)}", ok=known.get("kind") in _KINDS)
    check("name", "text that is not empty", ok=_is_text(known.get("name")))
    check("weights", "64 digits in hex", ok=_is_digest(known.get("weights")))
    words, revision = known.get("words"), known.get("revision")
    check("words", "64 digits in hex, or null", ok=words is None or _is_digest(words))
    check("revision", "text that is not empty, or null", ok=revision is None or _is_text(revision))
    return BaseReference(**known)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
