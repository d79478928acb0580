"""The file that one memory lies in: safetensors, with a digest over all of it. Never pickle.

It is read here, not by the library, since nothing of a file is to be believed: the header's every
length, dtype, shape and place is checked before a tensor is made of it, and all of it comes from
one open file, whatever takes its name meanwhile. Tensors are views into one copy of it in memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from memplus.errors import CorruptMemoryError, NotAMemoryError
from memplus.errors.base import storage_error
from memplus.memory.checks import Count, Fields, Items, checked, parsed, require

__all__ = ["TensorFile", "opened", "stored_digest", "write_tensors"]

_METADATA = "__metadata__"
_BEGINS = b'{"__metadata__":{'
_BLANK = "0" * 64
_FIELD = b'"sha256":"'
_LONGEST_HEADER = 100_000_000
"""What the safetensors library writes and reads at most."""
_BLOCK = 1 << 22
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8,
}  # fmt: skip
_ELSE = {
    b"%PDF": "it is a PDF document",
    b"PK": "it is a ZIP archive (`memplus memories import` takes an exported memory)",
    b"\x1f\x8b": "it is compressed",
    b"SQLite format 3": "it is an SQLite database",
    b"\x89PNG": "it is an image",
    b"\xff\xd8\xff": "it is an image",
}


class _Metadata(Fields):
    """The texts in the header."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    memplus: str


class _Entry(Fields):
    """One tensor."""

    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8"]
    shape: Annotated[Items[Count], Field(max_length=8)]
    data_offsets: Annotated[Items[Count], Field(min_length=2, max_length=2)]


class TensorFile:
    """An open file whose header and digest are right.

    Args:
        file: open at its beginning.
        path: its name, for errors.

    Raises:
        NotAMemoryError: it is something else.
        CorruptMemoryError: the header or the digest is wrong.
        OSError: it cannot be read.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        header = self._read_header()
        content = parsed(header, path, "header")
        require(isinstance(content, dict), path, "header", "is not an object")
        if not {"sha256", "memplus"} & set(content.get(_METADATA) or ()):
            raise NotAMemoryError(path, reason="it holds tensors, but no memory")
        metadata = checked(_Metadata, content.pop(_METADATA), path, _METADATA)
        self.text = metadata.memplus
        """What the memory is, as JSON."""
        self.digest = metadata.sha256
        self._data = 8 + len(header)
        self._entries = {
            name: checked(_Entry, entry, path, f"tensor {name}") for name, entry in content.items()
        }
        self._check_places()
        self._bytes = _content(file, path, self._size)
        place = 8 + header.find(_FIELD) + len(_FIELD)
        view = memoryview(self._bytes.numpy())  # type: ignore[arg-type]
        if _digest([view[:place], view[place + len(_BLANK) :]]) != self.digest:
            raise CorruptMemoryError(path, reason="its checksum differs")

    def _read_header(self) -> bytes:
        start = self._file.read(8 + len(_BEGINS))
        looks_right = start[8:] == _BEGINS
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
        if not looks_right and not (start[8:9] == b"{" and length + 8 <= self._size):
            raise NotAMemoryError(self.path, reason=_what_it_is(start))
        if length > _LONGEST_HEADER or length + 8 > self._size:
            raise CorruptMemoryError(self.path, reason="it is truncated, or its first bytes differ")
        self._file.seek(8)
        return self._file.read(length)

    def _check_places(self) -> None:
        """Tensors lie one after the other, and fill what follows the header."""
        at = 0
        for name, entry in sorted(self._entries.items(), key=lambda item: item[1].data_offsets):
            begin, end = entry.data_offsets
            size = prod(entry.shape) * _DTYPES[entry.dtype].itemsize
            field = f"tensor {name}"
            require(
                prod(max(1, n) for n in entry.shape) < 1 << 62, self.path, field, "is too large"
            )
            fits = begin == at and end - begin == size
            require(
                fits, self.path, field, f"of {size} bytes lies at {begin} to {end}, not at {at}"
            )
            at = end
        if self._data + at != self._size:
            reason = f"it has {self._size} bytes, not {self._data + at}"
            raise CorruptMemoryError(self.path, reason=reason)

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """The dtype of every tensor, by name."""
        return {name: _DTYPES[entry.dtype] for name, entry in self._entries.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name; changing one changes no file."""
        return {name: self._tensor(entry) for name, entry in self._entries.items()}

    def _tensor(self, entry: _Entry) -> Tensor:
        dtype = _DTYPES[entry.dtype]
        begin, end = (self._data + offset for offset in entry.data_offsets)
        if begin == end:
            return torch.empty(entry.shape, dtype=dtype)
        flat = self._bytes[begin:end]
        aligned = flat if begin % dtype.itemsize == 0 else flat.clone()
        return aligned.view(dtype).view(entry.shape)


def _content(file: BinaryIO, path: Path, size: int) -> Tensor:
    """[size] bytes of an open file, read: a map of it would change, or end, with the file."""
    content = torch.empty(size, dtype=torch.uint8)
    rest = memoryview(content.numpy())  # type: ignore[arg-type]
    file.seek(0)
    while rest:
        count = file.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise CorruptMemoryError(path, reason="it was cut short while it was read")
        rest = rest[count:]
    return content


@contextmanager
def opened(path: Path) -> Iterator[TensorFile]:
    """A file of a memory, its header and digest checked.

    Raises:
        NotFoundError, StorageError: it is not there, or cannot be read.
        NotAMemoryError, CorruptMemoryError: as ``TensorFile``.
    """
    try:
        if path.is_dir():
            raise NotAMemoryError(path, reason=_what_folder(path))
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise NotAMemoryError(path, reason="it is not a regular file")
        with path.open("rb") as file:
            yield TensorFile(file, path)
    except OSError as error:
        raise storage_error(path, error) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], text: str) -> str:
    """Write such a file.

    Args:
        path: is overwritten.
        tensors: by name, contiguous and on the CPU.
        text: what the memory is, as JSON.

    Returns:
        The digest.

    Raises:
        StorageError: the disk refused.
        OSError: it refused the digest.
    """
    try:
        save_file(dict(tensors), path, {"sha256": _BLANK, "memplus": text})
    except SafetensorError as error:  # the library reports a full disk in its own class
        raise storage_error(path, error) from error
    with path.open("r+b") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        place = 8 + file.read(length).find(_FIELD) + len(_FIELD)
        digest = _digest_of(file, place)
        file.seek(place)
        file.write(digest.encode())
        file.flush()
        os.fsync(file.fileno())
    return digest


def stored_digest(path: Path) -> str:
    """The digest that a file names, unchecked; empty where it is not a memory.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = file.read(min(length, _LONGEST_HEADER))
    _, found, rest = header.partition(_FIELD)
    return rest[: len(_BLANK)].decode("ascii", "replace") if found else ""


def _digest(around: Iterable[bytes | memoryview]) -> str:
    """SHA-256 of what stands before and after the digest's own place, which counts as blank."""
    pieces = iter(around)
    digest = hashlib.sha256(next(pieces))
    digest.update(_BLANK.encode())
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _digest_of(file: BinaryIO, place: int) -> str:
    """The digest of a file that was just written, which has it at ``place``."""

    def around() -> Iterator[bytes]:
        file.seek(0)
        yield file.read(place)
        file.seek(place + len(_BLANK))
        while block := file.read(_BLOCK):
            yield block

    return _digest(around())


def _what_it_is(start: bytes) -> str:
    """What a file that is not a memory seems to be, by its first bytes."""
    if not start:
        return "it is empty"
    for begins, what in _ELSE.items():
        if start.startswith(begins):
            return what
    plain = all(byte >= 32 or byte in b"\t\n\r\f" for byte in start)
    return "it seems to be a text" if plain else "it begins as no memory does"


def _what_folder(path: Path) -> str:
    if (path / "store").is_file() and (path / "memories").is_dir():
        return "it is a store of memories (`--store DIR --id NAME`)"
    return "it is a folder"
