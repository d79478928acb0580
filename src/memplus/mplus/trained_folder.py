"""A folder of trained weights: a file of tensors in bfloat16, and a record of what they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from memplus.errors import BundleBaseError, ConfigError, MemplusError, MissingWeightsDirectory
from memplus.errors.base import storage_errors
from memplus.files import aside, write_aside

__all__ = ["read_values", "why_unusable", "write_trained"]

_FORMAT = 1

_T = TypeVar("_T")


def write_trained(
    weights: Path, tensors: Mapping[str, Tensor], record: Path, values: Mapping[str, Any]
) -> None:
    """Write both; their folder is made where it is missing.

    Args:
        weights: the file of the tensors.
        tensors: by name, on whatever device.
        record: the file beside it.
        values: what the tensors are, as JSON values.

    Raises:
        StorageError: the disk refused.
    """
    kept = {name: one.to("cpu", torch.bfloat16).contiguous() for name, one in tensors.items()}
    with storage_errors(weights.parent):
        weights.parent.mkdir(parents=True, exist_ok=True)
    with aside(weights) as temporary:
        save_file(kept, temporary, metadata={"format": "pt"})
    text = json.dumps({"format": _FORMAT, **values}, indent=2)
    write_aside(record, f"{text}\n".encode())


def read_values(weights: Path, record: Path, make: Callable[[dict[str, Any]], _T]) -> _T:
    """What a record says.

    Args:
        weights: must be there as well.
        record: is read.
        make: turns its values into what they stand for.

    Raises:
        MissingWeightsDirectory: one of the two is not there.
        ConfigError: the record is damaged, or of another format.
        StorageError: it cannot be read.
    """
    for path in (record, weights):
        if not path.is_file():
            raise MissingWeightsDirectory(path.parent, expected=path.name)
    with storage_errors(record):
        text = record.read_text(encoding="utf-8", errors="replace")
    try:
        values = json.loads(text)
        if values.pop("format") != _FORMAT:
            raise ValueError(f"this release reads format {_FORMAT}")
        return make(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(str(record), value=text[:40], reason=f"it is damaged: {error}") from error


def why_unusable(error: MemplusError) -> str:
    """What kept trained weights from being used, without a hint and without a full stop."""
    if isinstance(error, BundleBaseError):
        folder, base = error.fields["bundle"], error.fields["base"]
        return f"those in {folder} were trained on {base}, and this model stands on another base"
    return error.message.rstrip(".")
