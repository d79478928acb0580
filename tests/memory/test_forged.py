"""A memory's file whose sums are right and whose contents are not: one named error, no more."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.forging import bounded, changes, tensor_changes
from torch import Tensor

from memplus import Memory
from memplus.errors import MemoryFileError, MemoryMismatchError, UsageError
from memplus.memory.tensor_file import TensorFile, opened, write_tensors

MODEL = make_mplus()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a memory with everything in it."""
    path = tmp_path_factory.mktemp("saved") / "m.memory"
    memory = MODEL.new_memory(seed=3)
    MODEL.write(memory, some_ids(83).tolist(), source="a")
    MODEL.write(memory, some_ids(31, seed=1).tolist(), source="b")
    assert memory.tail
    assert memory.long_term_rows
    memory.save(path)
    with opened(path) as file:
        return json.loads(file.text), file.tensors()


def outcome(path: Path, what: str) -> str:
    """Load a file: how it ended. What loads must work, whatever it says."""
    content = path.read_bytes()
    try:
        with bounded():
            memory = Memory.load(path, MODEL)
    except (MemoryFileError, MemoryMismatchError, UsageError) as error:
        assert path.read_bytes() == content
        return error.message
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}") from error
    try:
        with torch.no_grad():
            MODEL(some_ids(3), memory=memory)
            MODEL.write(memory, some_ids(11, seed=2).tolist(), source="a", flush=True)
    except UsageError as error:  # a budget of 0 bytes, say
        return error.message
    except Exception as error:
        raise AssertionError(f"{what} was loaded: {type(error).__name__}") from error
    return ""


def written(path: Path, tensors: dict[str, Tensor], header: object) -> Path:
    write_tensors(path, tensors, json.dumps(header))
    return path


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_field_with_absurd_values(
    tmp_path: Path, saved: tuple[dict[str, Any], dict[str, Tensor]], every: int
) -> None:
    header, tensors = saved
    assert not outcome(written(tmp_path / "m", tensors, header), "as it was")
    refused = 0
    for what, changed in islice(changes(header, most=2), 0, None, every):
        message = outcome(written(tmp_path / "m", tensors, changed), what)
        refused += bool(message)
        field = what.partition(" ")[0].partition(".")[0]
        loose = {"config", "version", "fingerprint", "unknown", "max_bytes", "rows"}
        if message and field not in loose:
            assert field in message or "write_id" in message or "birth" in message, what
    assert refused > 500 / every


@pytest.mark.parametrize("header", [None, [], 5, "x", True, {}])
def test_a_header_of_another_kind(
    tmp_path: Path, saved: tuple[dict[str, Any], dict[str, Tensor]], header: object
) -> None:
    assert "header" in outcome(written(tmp_path / "m", saved[1], header), "header")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rows": "int8"}, "int8"),
        ({"rows": "int3"}, "header.rows is 'int3'"),
        ({"count": -1}, "header.count is -1"),
        ({"count": 10**6}, "count is 1000000"),
        ({"tail": [10**9]}, "header.tail.0 is 1000000000, with a vocabulary of"),
        ({"writes": []}, "write_id holds"),
        ({"config": {}}, "short_term_tokens"),
        ({"clock": 0}, "birth holds"),
        ({"source_tokens": {"a": -5}}, "header.source_tokens.a is -5"),
    ],
)
def test_what_does_not_fit_together_is_named(
    tmp_path: Path,
    saved: tuple[dict[str, Any], dict[str, Tensor]],
    change: dict[str, Any],
    named: str,
) -> None:
    header, tensors = saved
    assert named in outcome(written(tmp_path / "m", tensors, header | change), named)


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_every_tensor_of_another_dtype_shape_and_range(
    tmp_path: Path, saved: tuple[dict[str, Any], dict[str, Tensor]], every: int
) -> None:
    header, tensors = saved
    accepted = []
    for what, changed in islice(tensor_changes(tensors), 0, None, every):
        message = outcome(written(tmp_path / "m", changed, header), what)
        name = "nonsense" if what == "one more tensor" else what.replace(":", " ").split(" ")[0]
        if message:
            assert name in message or "write_id" in message or "birth" in message, what
        else:
            accepted.append(what)
    # Other ids of real writes, clocks that have been, fewer vectors to go on from: all possible.
    possible = {"birth", "write_id", "recent"}
    assert {one.partition(":")[0].rpartition(".")[2] for one in accepted} <= possible, accepted


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_named(
    tmp_path: Path, saved: tuple[dict[str, Any], dict[str, Tensor]], value: float
) -> None:
    header, tensors = saved
    floats = {name for name, tensor in tensors.items() if tensor.is_floating_point()}
    assert floats >= {"pool.k", "pool.key", "store.0.key"}
    for name in floats:
        changed = tensors[name].clone()
        changed.view(-1)[-1] = value
        message = outcome(written(tmp_path / "m", tensors | {name: changed}, header), name)
        assert f"its tensor {name} holds infinite numbers or none" in message


def test_a_header_without_a_bottom(
    tmp_path: Path, saved: tuple[dict[str, Any], dict[str, Tensor]]
) -> None:
    write_tensors(tmp_path / "m", saved[1], "[" * 200_000)
    assert "header is nested too deep" in outcome(tmp_path / "m", "deep")


def test_a_file_that_is_replaced_while_it_is_read_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "m", tmp_path / "other"
    memory = MODEL.new_memory(seed=3)
    MODEL.write(memory, some_ids(40).tolist())
    memory.save(path)
    MODEL.write(memory, some_ids(40).tolist())
    memory.save(other)
    whole = TensorFile.tensors

    def replaced(self: TensorFile) -> dict[str, Tensor]:
        os.replace(other, path)
        return whole(self)

    monkeypatch.setattr(TensorFile, "tensors", replaced)
    assert Memory.load(path, MODEL).tokens == CONFIG.chunk_tokens * (40 // CONFIG.chunk_tokens)
