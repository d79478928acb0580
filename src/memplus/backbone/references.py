"""What a bundle says of its base, and nothing about where that is looked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from memplus.errors import ConfigError

__all__ = ["BaseReference", "computing_fields", "first_difference", "parse_reference"]

_KINDS = ("name", "folder", "hub")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMPUTING = (
    "model_type",
    "hidden_act",
    "hidden_activation",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "layer_norm_eps",
    "tie_word_embeddings",
    "use_parallel_residual",
    "use_sliding_window",
    "sliding_window",
    "layer_types",
    "no_rope_layers",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope_parameters",
)


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
    config: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its config that decide what the weights compute; see ``computing_fields``."""


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
    config = known.get("config", {})
    check("config", "an object with named fields", ok=isinstance(config, dict))
    return BaseReference(**known)


def computing_fields(config: Any) -> dict[str, Any]:
    """What a decoder's config says beside the shapes of its weights: heads, norms, positions.

    Args:
        config: the library's.

    Returns:
        Plain JSON values by name, nested ones as ``rope_parameters.rope_theta``. Fields that are
        null are left out: libraries of different versions know different ones.
    """
    found: dict[str, Any] = {}
    for name in _COMPUTING:
        _flatten(name, getattr(config, name, None), found)
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _flatten(name: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for key, one in value.items():
            _flatten(f"{name}.{key}", one, into)
    elif value is not None:
        into[name] = value


def first_difference(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> tuple[str, object, object] | None:
    """The first field that both have with different values, and the two values."""
    differing = (name for name in one if name in other and one[name] != other[name])
    name = next(differing, None)
    return None if name is None else (name, one[name], other[name])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
