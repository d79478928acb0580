"""Containers: what was put in comes out, block by block, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from memplus.errors import CorruptMemoryError, MemoryVersionError
from memplus.store.blocks import BLOCK, Container, Residency, layout, read_records, write_container
from memplus.store.disk import Disk

DTYPES = [
    torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8, torch.uint8,
    torch.int16, torch.int32, torch.int64,
]  # fmt: skip


def written(path: Path, tensors: dict[str, Tensor], meta: object = None) -> Path:
    path.unlink(missing_ok=True)
    shapes = {name: (tensor.dtype, list(tensor.shape)) for name, tensor in tensors.items()}
    plan = layout({"kind": meta}, shapes)
    with Disk().create(path) as sink:
        write_container(sink, plan, iter(tensors.values()))
    return path


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    tensors = {
        "wide": torch.randint(-99, 99, (3000, 7, 3), generator=draw).to(dtype),
        "none": torch.zeros((0, 5), dtype=dtype),
        "é": torch.arange(5).to(dtype),
    }
    container = Container.open(written(tmp_path / "c", tensors, "é"))
    assert container.meta == {"kind": "é"}
    assert container.names == list(tensors)
    for name, tensor in tensors.items():
        assert (container.shape(name), container.dtype(name)) == (list(tensor.shape), dtype)
        assert torch.equal(container.rows(name), tensor)
    index = torch.tensor([2999, 0, 1500, 0])
    assert torch.equal(container.gather("wide", index), tensors["wide"][index])
    assert torch.equal(container.rows("wide", 7, 11), tensors["wide"][7:11])


def test_only_the_blocks_that_are_used_are_checked(tmp_path: Path) -> None:
    path = written(tmp_path / "c", {"a": torch.arange(3 * BLOCK, dtype=torch.uint8)})
    first = Container.open(path).data
    content = bytearray(path.read_bytes())
    content[first + 2 * BLOCK + 5] ^= 1
    path.write_bytes(content)
    container = Container.open(path)
    container.rows("a", 0, 2 * BLOCK)
    for use in (
        lambda: container.rows("a", 2 * BLOCK, 2 * BLOCK + 1),
        lambda: container.gather("a", torch.tensor([0, 3 * BLOCK - 1])),
        container.check_all,
    ):
        with pytest.raises(CorruptMemoryError, match=f"bytes {first + 2 * BLOCK} to"):
            use()


def test_a_log_is_its_records_and_not_a_byte_more(tmp_path: Path) -> None:
    pieces = [written(tmp_path / "c", {"a": torch.full((n,), n)}).read_bytes() for n in (1, 9, 0)]
    log = tmp_path / "log"
    log.write_bytes(b"".join(pieces) + b"left by a commit that was cut short")
    whole = sum(map(len, pieces))
    records = read_records(log, whole)
    assert [record.rows("a").tolist() for record in records] == [[1], [9] * 9, []]
    assert [len(read_records(log, length)) for length in (0, len(pieces[0]))] == [0, 1]
    for length in (1, whole - 1, whole + 1, whole + 35, 10**12):
        with pytest.raises(CorruptMemoryError):
            read_records(log, length)


def test_too_many_touched_pages_are_given_back(tmp_path: Path) -> None:
    container = Container.open(written(tmp_path / "c", {"a": torch.zeros(40 * BLOCK)}))
    released = []
    container.release = lambda: released.append(1)  # type: ignore[method-assign]
    container.residency = Residency(limit=4 * BLOCK)
    container.residency.watch(container)
    for start in range(0, 40 * BLOCK, BLOCK):
        container.rows("a", start, start + BLOCK)
    assert len(released) >= 20


def test_a_later_version_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memplus.store.blocks.VERSION", 2)
    path = written(tmp_path / "c", {"a": torch.zeros(3)})
    monkeypatch.undo()
    with pytest.raises(MemoryVersionError, match="version 2"):
        Container.open(path)


def test_names_that_are_no_utf8_stay_what_they_are(tmp_path: Path) -> None:
    container = Container.open(written(tmp_path / "c", {"a": torch.zeros(3)}, "caf\udce9"))
    assert json.dumps(container.meta) == json.dumps({"kind": "caf\udce9"})


def test_a_file_may_be_opened_while_others_are_let_go() -> None:
    residency, released = Residency(limit=1), []

    class File:
        def release(self) -> None:
            released.append(self)
            residency.watch(cast(Container, File()))

    kept = [File(), File()]
    for file in kept:
        residency.watch(cast(Container, file))
    residency.touch(2)
    assert len(released) == len(kept)
