"""The one container of the store: JSON, then flat aligned tensors, checked block by block.

Segments, snapshots and the records of a log are all such containers::

    0   magic, version, header length, header crc, number of blocks, crc of what follows
        the header up to the data, crc of these 32 bytes
    32  header: JSON, with the name, dtype, shape and place of every tensor
        crc table: 4 bytes per block of 64 KiB of data
        zeros up to a multiple of 64
    ..  data: tensors one after the other, each at a multiple of 64

Opening checks everything but the data. A block of data is checked when it is first used.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import weakref
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, Strict
from torch import Tensor

from memplus.errors import CorruptMemoryError, MemoryVersionError
from memplus.memory.checks import Count, Fields, Items, Text, checked, parsed, require
from memplus.store.disk import Sink, read
from memplus.store.mapped_file import MappedFile

__all__ = ["BLOCK", "Container", "Layout", "Residency", "layout", "read_records", "write_container"]

MAGIC = b"MEMPLUSB"
VERSION = 1
BLOCK = 1 << 16
_ALIGN = 64
_START = struct.Struct("<8sIIIII")
_FIXED = _START.size + 4
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32, torch.float64, torch.bfloat16, torch.float16,
        torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64,
    )
}  # fmt: skip


_Entry = Annotated[
    tuple[
        Literal[
            "float32", "float64", "bfloat16", "float16", "int8", "uint8", "int16", "int32", "int64"
        ],
        Annotated[Items[Count], Field(min_length=1, max_length=8)],
        Count,
    ],
    Strict(strict=False),
]  # fmt: skip


class _Header(Fields):
    """What a container says of itself."""

    meta: dict[str, Any]
    tensors: dict[Text, _Entry]
    length: Count


def _aligned(length: int) -> int:
    return -(-length // _ALIGN) * _ALIGN


@dataclass(frozen=True)
class Layout:
    """Where everything of a container lies."""

    header: bytes
    places: dict[str, tuple[int, int]]
    """Name -> first byte, counted from the data's beginning, and length in bytes."""
    data: int
    """First byte of the data."""
    length: int
    """Bytes of the data, padding included."""

    @property
    def blocks(self) -> int:
        """Blocks of data."""
        return -(-self.length // BLOCK)

    @property
    def total(self) -> int:
        """Bytes of the container."""
        return self.data + self.length


def layout(meta: Mapping[str, Any], shapes: Mapping[str, tuple[torch.dtype, list[int]]]) -> Layout:
    """Plan a container: its tensors in the order given."""
    places: dict[str, tuple[int, int]] = {}
    listed: dict[str, list[Any]] = {}
    at = 0
    for name, (dtype, shape) in shapes.items():
        size = prod(shape) * dtype.itemsize
        places[name] = (at, size)
        listed[name] = [str(dtype).removeprefix("torch."), shape, at]
        at += _aligned(size)
    header = json.dumps(
        {"meta": meta, "tensors": listed, "length": at}, separators=(",", ":"), ensure_ascii=False
    ).encode("utf-8", "surrogatepass")
    data = _aligned(_FIXED + len(header) + 4 * -(-at // BLOCK))
    return Layout(header, places, data, at)


def write_container(sink: Sink, plan: Layout, pieces: Iterator[Tensor], base: int = 0) -> None:
    """Write a container from ``base`` on; its data comes first, then the header before it.

    Args:
        sink: at ``base``.
        plan: of ``layout``.
        pieces: the tensors' content in the order of the plan; a tensor may come in several.
        base: first byte of the container in the file.
    """
    sink.skip(base + plan.data)
    sums = _Sums(sink)
    ends = iter([place + size for place, size in plan.places.values()])
    end = next(ends, 0)
    for piece in pieces:
        sums.add(_bytes(piece))
        while sums.count >= end:
            sums.add(bytes(_aligned(sums.count) - sums.count))
            following = next(ends, None)
            if following is None:
                break
            end = following
    table = sums.table()
    assert sums.count == plan.length
    start = _FIXED + len(plan.header)
    rest = table + bytes(plan.data - start - len(table))
    fixed = _START.pack(
        MAGIC, VERSION, len(plan.header), zlib.crc32(plan.header), plan.blocks, zlib.crc32(rest)
    )
    sink.write_at(fixed + struct.pack("<I", zlib.crc32(fixed)) + plan.header + rest, base)
    sink.skip(base + plan.total)


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if not flat.numel():
        return memoryview(b"")
    content: Any = flat.view(torch.uint8).numpy()
    return memoryview(content)


class _Sums:
    """Writes data and sums up its blocks on the way."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.count = 0
        self.sums: list[int] = []
        self.current = 0

    def add(self, content: bytes | memoryview) -> None:
        self.sink.write(content)
        view = memoryview(content)
        while view:
            room = BLOCK - self.count % BLOCK
            part, view = view[:room], view[room:]
            self.current = zlib.crc32(part, self.current)
            self.count += len(part)
            if self.count % BLOCK == 0:
                self._close()

    def _close(self) -> None:
        self.sums.append(self.current)
        self.current = 0

    def table(self) -> bytes:
        if self.count % BLOCK:
            self._close()
        return struct.pack(f"<{len(self.sums)}I", *self.sums)


class Residency:
    """Keeps mapped files from staying in memory beyond a budget.

    Args:
        limit: bytes of mapped pages that may stay; None leaves it to the system.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.touched = 0
        self._files: weakref.WeakSet[Container] = weakref.WeakSet()
        self._lock = threading.Lock()  # of the set; one thread opens files while another reads

    def watch(self, file: Container) -> None:
        """Let go of the file's pages, too, when it becomes too many."""
        with self._lock:
            self._files.add(file)

    def touch(self, size: int) -> None:
        """Bytes are about to be read; older ones are let go when it becomes too many."""
        if self.limit is None:
            return
        self.touched += size
        if self.touched > self.limit:
            with self._lock:
                files = [*self._files]
            for file in files:
                file.release()
            self.touched = size


class Container:
    """A container in memory or mapped from a file.

    Raises:
        CorruptMemoryError: header or crc table are damaged, or the file is too short.
        MemoryVersionError: a later version of the format.
    """

    def __init__(self, buffer: memoryview, path: Path, start: int = 0) -> None:
        self.path = path
        self.buffer = buffer
        self.start = start
        self.residency = Residency()
        self._mapped: MappedFile | None = None
        size = len(buffer) - start
        if size < _FIXED:
            raise self._damaged("it is too short")
        fixed = bytes(buffer[start : start + _FIXED])
        magic, version, length, crc, blocks, rest_crc = _START.unpack(fixed[: _START.size])
        if magic != MAGIC:
            raise self._damaged("it does not begin as it should")
        if zlib.crc32(fixed[: _START.size]) != struct.unpack("<I", fixed[_START.size :])[0]:
            raise self._damaged("the checksum of its first bytes differs")
        if version != VERSION:
            raise MemoryVersionError(path, found=version, supported=VERSION)
        header = bytes(buffer[start + _FIXED : start + _FIXED + length])
        if len(header) < length or zlib.crc32(header) != crc:
            raise self._damaged("the checksum of its header differs")
        self._read_header(header, blocks)
        rest = bytes(buffer[start + _FIXED + length : self.data])
        if self.data + self.length > len(buffer) or zlib.crc32(rest) != rest_crc:
            raise self._damaged("it is truncated, or its table of checksums differs")
        self.sums = struct.unpack(f"<{blocks}I", rest[: 4 * blocks])
        self._checked = bytearray(blocks)

    def _read_header(self, header: bytes, blocks: int) -> None:
        content = checked(_Header, parsed(header, self.path, "header"), self.path, "header")
        self.meta = content.meta
        self.length = content.length
        self._tensors: dict[str, tuple[torch.dtype, list[int], int]] = {}
        end = 0
        for name, (dtype, shape, at) in content.tensors.items():
            field = f"header.tensors.{name}"
            wide = prod(max(1, length) for length in shape)
            require(wide < 1 << 62, self.path, field, "is too large")
            require(at == end, self.path, field, f"begins at {at}, not at {end}")
            self._tensors[name] = (_DTYPES[dtype], shape, at)
            end = at + _aligned(prod(shape) * _DTYPES[dtype].itemsize)
        require(end == self.length, self.path, "header.length", f"is {self.length}, not {end}")
        fits = blocks == -(-end // BLOCK)
        require(fits, self.path, "number of blocks", f"is {blocks} for {end} bytes")
        self.data = self.start + _aligned(_FIXED + len(header) + 4 * blocks)

    @classmethod
    def open(cls, path: Path) -> Container:
        """Map a file that holds one container."""
        with read(path) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise CorruptMemoryError(path, reason="it is empty")
            mapped = MappedFile(file.fileno(), size)
        container = cls(mapped.view, path)
        container._mapped = mapped
        return container

    @property
    def total(self) -> int:
        """Bytes of the whole container."""
        return self.data - self.start + self.length

    @property
    def names(self) -> list[str]:
        """Of the tensors."""
        return list(self._tensors)

    def _damaged(self, reason: str) -> CorruptMemoryError:
        return CorruptMemoryError(self.path, reason=reason)

    def shape(self, name: str) -> list[int]:
        """Of a tensor."""
        return list(self._tensors[name][1])

    def dtype(self, name: str) -> torch.dtype:
        """Of a tensor."""
        return self._tensors[name][0]

    def rows(self, name: str, first: int = 0, stop: int | None = None) -> Tensor:
        """Rows of a tensor, a view into the map, checked; not to be written to."""
        dtype, shape, at = self._tensors[name]
        stop = shape[0] if stop is None else stop
        width = prod(shape[1:]) * dtype.itemsize
        if stop <= first or not width:
            return torch.zeros([max(0, stop - first), *shape[1:]], dtype=dtype)
        begin = at + first * width
        self.check(begin, at + stop * width)
        count = (stop - first) * prod(shape[1:])
        flat = torch.frombuffer(self.buffer, dtype=dtype, count=count, offset=self.data + begin)
        return flat.view([stop - first, *shape[1:]])

    def gather(self, name: str, index: Tensor) -> Tensor:
        """Copies of the rows ``index`` [m] of a tensor; only their blocks are checked."""
        dtype, shape, at = self._tensors[name]
        width = prod(shape[1:]) * dtype.itemsize
        if not index.numel() or not width:
            return torch.zeros([index.numel(), *shape[1:]], dtype=dtype)
        first, last = (at + index * width) // BLOCK, (at + (index + 1) * width - 1) // BLOCK
        for block in torch.cat([first, last]).unique().tolist():
            self._check_block(block)
        for begin, end in zip(first.tolist(), last.tolist(), strict=True):
            if end - begin > 1:  # a row wider than a block
                self.check(begin * BLOCK, (end + 1) * BLOCK)
        flat = torch.frombuffer(self.buffer, dtype=dtype, count=prod(shape), offset=self.data + at)
        return flat.view(shape).index_select(0, index)

    def check(self, begin: int, end: int) -> None:
        """Check the blocks that cover bytes of the data, those not checked before.

        Raises:
            CorruptMemoryError: naming the first bad block.
        """
        self.residency.touch(end - begin)
        for block in range(begin // BLOCK, -(-min(end, self.length) // BLOCK)):
            self._check_block(block, touch=False)

    def _check_block(self, block: int, *, touch: bool = True) -> None:
        if touch:
            self.residency.touch(BLOCK)
        if self._checked[block]:
            return
        begin = self.data + block * BLOCK
        end = min(begin + BLOCK, self.data + self.length)
        with self.buffer[begin:end] as content:
            if zlib.crc32(content) != self.sums[block]:
                where = f"the checksum of its bytes {begin - self.start} to {end - self.start}"
                raise self._damaged(f"{where} differs")
        self._checked[block] = 1

    def check_all(self) -> None:
        """Check every block, also those checked before.

        Raises:
            CorruptMemoryError: naming the first bad block.
        """
        self._checked = bytearray(len(self.sums))
        self.check(0, self.length)

    def release(self) -> None:
        """Let the system take the pages of a map back; they are read again when needed."""
        if self._mapped is not None:
            self._mapped.release()


def read_records(path: Path, length: int) -> list[Container]:
    """The containers in the first ``length`` bytes of a log, every byte checked.

    Raises:
        CorruptMemoryError: one of them is damaged, or the log is shorter.
    """
    with read(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size < length:
            raise CorruptMemoryError(path, reason=f"it has {size} of {length} bytes")
        content = memoryview(bytearray(length))
        if file.readinto(content) < length:  # type: ignore[attr-defined]
            raise CorruptMemoryError(path, reason="it was cut short while it was read")
    records: list[Container] = []
    at = 0
    while at < length:
        record = Container(content, path, at)
        record.check_all()
        records.append(record)
        at += record.total
    return records
