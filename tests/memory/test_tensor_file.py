"""The file of a memory: what is written is read; no header makes a reader allocate or believe."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.forging import bounded, changes

from memplus.errors import CorruptMemoryError, MemoryFileError
from memplus.memory.tensor_file import _digest_of, opened, stored_digest, write_tensors


def test_what_is_written_is_read_and_is_plain_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "m"
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.arange(7, dtype=torch.int32),
        "c": torch.randn(2, 0, 5).bfloat16(),
        "d": torch.tensor(5, dtype=torch.uint8),
        "e": torch.arange(-3, 3, dtype=torch.int8),
    }
    digest = write_tensors(path, tensors, '{"é": 1}')
    with opened(path) as file:
        found = file.tensors()
        assert (file.text, file.digest) == ('{"é": 1}', digest)
    assert stored_digest(path) == digest
    for held in (found, load_file(path)):
        assert held.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert held[name].dtype == tensor.dtype
            assert torch.equal(held[name], tensor)


def test_changing_a_tensor_changes_no_file_and_no_descriptor_is_held(tmp_path: Path) -> None:
    path = tmp_path / "m"
    write_tensors(path, {"a": torch.zeros(9), "b": torch.zeros(9)}, "{}")
    before, descriptors = path.read_bytes(), len(os.listdir("/proc/self/fd"))
    with opened(path) as file:
        tensors = file.tensors()
    tensors["a"].fill_(7)
    assert path.read_bytes() == before
    assert not tensors["b"].any()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    path.unlink()
    assert tensors["a"].sum() == 63


def test_tensors_at_odd_places_are_read_too(tmp_path: Path) -> None:
    entries = {
        "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "b": {"dtype": "I32", "shape": [2], "data_offsets": [3, 11]},
    }
    data = bytes([1, 2, 3]) + struct.pack("<2i", 5, -6)
    with opened(raw(tmp_path / "m", entries, data)) as file:
        tensors = file.tensors()
    assert (tensors["a"].tolist(), tensors["b"].tolist()) == ([1, 2, 3], [5, -6])


def test_another_file_under_the_same_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "m", tmp_path / "other"
    write_tensors(path, {"a": torch.zeros(9)}, "{}")
    write_tensors(other, {"a": torch.ones(9)}, "{}")
    empty = torch.empty

    def replaced(*args: Any, **options: Any) -> torch.Tensor:
        os.replace(other, path)  # behind the header, before what follows it
        return empty(*args, **options)

    monkeypatch.setattr(torch, "empty", replaced)
    with opened(path) as file:
        assert not file.tensors()["a"].any()


def test_a_digest_without_a_file_of_a_memory_is_empty(tmp_path: Path) -> None:
    for content in (b"", b"short", b"a text of some length", bytes(99)):
        (tmp_path / "m").write_bytes(content)
        assert stored_digest(tmp_path / "m") == ""


def test_a_flipped_byte_is_found_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m"
    write_tensors(path, {"a": torch.zeros(9)}, "{}")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptMemoryError, match="checksum"), opened(path):
        raise AssertionError("it was opened")


def raw(path: Path, entries: dict[str, Any], data: bytes = b"", length: int | None = None) -> Path:
    """A file of these header entries with a right digest."""
    metadata = {"sha256": "0" * 64, "memplus": "{}"}
    header = json.dumps({"__metadata__": metadata} | entries, separators=(",", ":")).encode()
    shown = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", shown) + header + data)
    place = 8 + header.find(b'"sha256":"') + 10
    with path.open("r+b") as file:
        digest = _digest_of(file, place)
        file.seek(place)
        file.write(digest.encode())
    return path


def entries() -> Iterator[tuple[str, dict[str, Any]]]:
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    yield from changes({"t": entry}, most=2)
    for shape, end in (
        ([2**40], 2**42), ([2**40, 2**40], 16), ([2**62, 4], 0), ([0, 2**40, 2**40], 0),
        ([-2, -2], 16), ([1] * 70, 4),
    ):  # fmt: skip
        yield str(shape), {"t": entry | {"shape": shape, "data_offsets": [0, end]}}
    for offsets in ([10**15, 10**15 + 16], [16, 0], [0, 15], [4, 20], [-16, 0], [0, 16, 32]):
        yield str(offsets), {"t": entry | {"data_offsets": offsets}}
    yield "two in one place", {"t": entry, "u": entry}


def test_every_entry_of_the_raw_header(tmp_path: Path) -> None:
    accepted = []
    for what, forged in entries():
        path = raw(tmp_path / "m", forged, bytes(16))
        try:
            with bounded(), opened(path) as file:
                file.tensors()
            accepted.append(what)
        except MemoryFileError:
            pass
    assert accepted == ["t.data_offsets.0 = 0"]  # as it was


@pytest.mark.parametrize("length", [0, 1, 2**31, 10**12, 2**63 - 1, 2**64 - 1])
def test_a_header_of_absurd_length(tmp_path: Path, length: int) -> None:
    path = raw(tmp_path / "m", {}, length=length)
    with bounded(), pytest.raises(MemoryFileError), opened(path):
        raise AssertionError("it was opened")


@pytest.mark.parametrize("deep", [b"[" * 200_000, b'{"a":' * 200_000], ids=["lists", "objects"])
def test_nested_without_end(tmp_path: Path, deep: bytes) -> None:
    header = b'{"__metadata__":{"sha256":"' + b"0" * 64 + b'","memplus":"{}"},"t":' + deep
    path = tmp_path / "m"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with bounded(), pytest.raises(MemoryFileError, match="nested too deep"), opened(path):
        raise AssertionError("it was opened")
