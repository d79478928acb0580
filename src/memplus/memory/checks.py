"""What a file of a memory may say: kinds and bounds, checked before anything of it is used.

A right checksum tells that a file is as somebody wrote it, not that it makes sense. Every field is
described once, here or as a ``Fields`` beside what reads it; import, open and verify share these.
Whatever is out of bounds is one ``CorruptMemoryError`` that names the field.

Shapes: L layers, N slots, n rows in use, K rows of a write, d hidden size.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, FailFast, Field, PlainValidator, Strict, ValidationError
from torch import Tensor

from memplus.errors import CorruptMemoryError

__all__ = [
    "COUNT",
    "LATEST",
    "Count",
    "Fields",
    "Items",
    "Record",
    "Seed",
    "Text",
    "Time",
    "Token",
    "WriteId",
    "checked",
    "parsed",
    "require",
    "require_finite",
    "require_generator",
    "require_positions",
    "require_tensor",
    "require_within",
    "require_within_vocabulary",
    "require_writes",
    "wrong",
]

COUNT = 1 << 48
"""No count of bytes, rows or tokens is larger: no disk holds that many."""
_ID = (1 << 31) - 1
LATEST = 253_402_300_799.0
"""The end of the year 9999, after which no date can be shown."""
_GENERATOR_BYTES = torch.Generator().get_state().numel()

_Kind = TypeVar("_Kind", bound="Fields")
_Item = TypeVar("_Item")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("Input should be a text")
    return value


# Not pydantic's own text, which refuses names of files that are no UTF-8.
Text = Annotated[str, PlainValidator(_text)]
Count = Annotated[int, Field(ge=0, le=COUNT)]
WriteId = Annotated[int, Field(ge=1, le=_ID)]
Token = Annotated[int, Field(ge=0, le=_ID)]
Time = Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)]
Items = Annotated[list[_Item], FailFast()]
"""A list; the first wrong item is named, the others are not looked at."""
Record = Annotated[tuple[WriteId, Text, Count, Count], Strict(strict=False)]
"""A write: id, source, first token, tokens. JSON has it as a list."""


class Fields(BaseModel):
    """A JSON object with exactly these fields, each of exactly its kind."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def wrong(path: Path, field: str, reason: str) -> CorruptMemoryError:
    """The error for a field that cannot be what it is."""
    return CorruptMemoryError(path, reason=f"its {field} {reason}")


def require(ok: bool, path: Path, field: str, reason: str) -> None:  # noqa: FBT001
    """Refuse a field for which something does not hold.

    Raises:
        CorruptMemoryError: naming it.
    """
    if not ok:
        raise wrong(path, field, reason)


def parsed(content: str | bytes, path: Path, what: str) -> Any:
    """JSON from a file, of whatever depth and size.

    Raises:
        CorruptMemoryError: ``what`` is not JSON, or nested too deep.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise wrong(path, what, "is nested too deep") from error
    except ValueError as error:
        raise wrong(path, what, f"is not JSON ({error})") from error


def checked(kind: type[_Kind], values: object, path: Path, what: str) -> _Kind:
    """An object of a file, every field of it in its bounds.

    Args:
        kind: which fields it has.
        values: as parsed.
        path: the file, for the error.
        what: names the object in the file.

    Raises:
        CorruptMemoryError: naming the first field that is missing, unknown or out of bounds.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join([what, *(str(part) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        reason = f"is {reprlib.repr(first['input'])}: {message}"
        if first["type"] in ("missing", "extra_forbidden"):
            reason = "is missing" if first["type"] == "missing" else "is not a known field"
        raise wrong(path, field, reason) from error


# Tensors -----------------------------------------------------------------------------------------


def require_tensor(
    tensors: Mapping[str, Tensor],
    name: str,
    path: Path,
    dtypes: Collection[torch.dtype],
    shape: tuple[int | None, ...],
) -> Tensor:
    """A tensor of a file, of one of these dtypes and of this shape.

    Args:
        tensors: of the file, by name.
        name: which one.
        path: the file, for the error.
        dtypes: that it may have; empty: any.
        shape: None stands for any length.

    Raises:
        CorruptMemoryError: it is missing, or has another dtype or shape.
    """
    require(name in tensors, path, name, "is missing")
    found = tensors[name]
    if dtypes:
        wanted = " or ".join(sorted(str(dtype) for dtype in dtypes))
        require(found.dtype in dtypes, path, name, f"has the dtype {found.dtype}, not {wanted}")
    same = len(found.shape) == len(shape) and all(
        want is None or have == want for have, want in zip(found.shape, shape, strict=True)
    )
    listed = ", ".join("any" if want is None else str(want) for want in shape)
    require(same, path, name, f"has the shape {list(found.shape)}, not [{listed}]")
    return found


def require_within(tensor: Tensor, path: Path, field: str, least: int, most: int) -> None:
    """Refuse whole numbers outside their bounds.

    Raises:
        CorruptMemoryError: naming the first that is outside.
    """
    if not tensor.numel():
        return
    for value in (int(tensor.min()), int(tensor.max())):
        require(least <= value <= most, path, field, f"holds {value}, not {least} to {most}")


def require_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse floats that are infinite or no numbers; every value is read, 0.3 s a gigabyte.

    Raises:
        CorruptMemoryError: naming the tensor.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            ends = torch.stack(tensor.aminmax())  # both are no number where one value is
            ok = bool(torch.isfinite(ends).all())
            require(ok, path, f"tensor {name}", "holds infinite numbers or none")


def require_positions(position: Tensor, path: Path, field: str) -> None:
    """Refuse positions [L, N] that do not name each of N ranks once per layer.

    Raises:
        CorruptMemoryError.
    """
    ranks = torch.arange(position.shape[1]).expand_as(position)
    ok = torch.equal(position.cpu().sort(dim=1).values, ranks)
    require(ok, path, field, f"does not name each of {position.shape[1]} positions once")


def require_generator(tensors: Mapping[str, Tensor], path: Path) -> Tensor:
    """The state of a memory's own generator.

    Raises:
        CorruptMemoryError: it is no such state.
    """
    state = require_tensor(tensors, "generator", path, [torch.uint8], (_GENERATOR_BYTES,)).clone()
    try:
        torch.Generator().set_state(state)
    except RuntimeError as error:
        raise wrong(path, "generator", f"is not the state of a generator ({error})") from error
    return state


def require_within_vocabulary(
    tokens: Collection[int], vocabulary: int, path: Path, field: str
) -> None:
    """Refuse token ids that a model does not know.

    Raises:
        CorruptMemoryError: naming the first.
    """
    for index, token in enumerate(tokens):
        ok = 0 <= token < vocabulary
        require(ok, path, f"{field}.{index}", f"is {token}, with a vocabulary of {vocabulary}")


def require_writes(ids: Collection[int], path: Path, field: str, after: int = 0) -> None:
    """Refuse ids of writes that do not count on from ``after`` without a gap.

    Raises:
        CorruptMemoryError.
    """
    for expected, found in enumerate(ids, after + 1):
        require(found == expected, path, field, f"is {found} where write {expected} follows")
