"""A map outlives its file's name and descriptor, and ends with the last that looks at it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

from memplus.store.mapped_file import MappedFile

SIZE = 3 * 4096 + 17


def mapped(path: Path) -> MappedFile:
    path.write_bytes(bytes(i % 251 for i in range(SIZE)))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return MappedFile(descriptor, SIZE)
    finally:
        os.close(descriptor)


def maps_of(path: Path) -> int:
    return Path("/proc/self/maps").read_text().count(str(path))


def test_it_is_the_file_after_the_file_is_gone(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    found = mapped(tmp_path / "file")
    assert len(os.listdir("/proc/self/fd")) == before
    (tmp_path / "file").unlink()
    assert bytes(found.view) == bytes(i % 251 for i in range(SIZE))
    found.release()
    assert found.view[SIZE - 1] == (SIZE - 1) % 251


def test_what_is_written_to_it_stays_in_this_process(tmp_path: Path) -> None:
    found = mapped(tmp_path / "file")
    found.view[0] = 99
    assert (tmp_path / "file").read_bytes()[0] == 0


def test_it_is_unmapped_with_the_last_tensor_that_looks_at_it(tmp_path: Path) -> None:
    found = mapped(tmp_path / "file")
    rows = torch.frombuffer(found.view, dtype=torch.uint8, count=10, offset=4096)
    assert maps_of(tmp_path / "file") == 1
    del found
    gc.disable()  # it must not take the collector
    try:
        assert maps_of(tmp_path / "file") == 1
        assert rows.tolist() == [(4096 + i) % 251 for i in range(10)]
        del rows
        assert maps_of(tmp_path / "file") == 0
    finally:
        gc.enable()


def test_what_the_system_refuses_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    descriptor = os.open(tmp_path / "file", os.O_WRONLY)
    try:
        with pytest.raises(PermissionError):
            MappedFile(descriptor, 1)
    finally:
        os.close(descriptor)
