from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from tests.systems.conftest import SHARED
from tests.systems.memllm.tiny_weights import tiny_weights

from memplus.errors import SystemWeightsError
from memplus.mplus.adapter_folder import ADAPTER, RECORD
from memplus.systems.own_adapters import OwnAdapters


def adapters(folder: Path, *parts: str) -> OwnAdapters:
    return OwnAdapters("some", ("make them",), folder, parts)


def test_the_first_file_that_is_missing_is_named(tmp_path: Path) -> None:
    shutil.copytree(tiny_weights() / "write", tmp_path / "write")
    found = adapters(tmp_path, "write", "read")
    assert found.missing == f"{tmp_path / 'read' / RECORD} is not there"
    with pytest.raises(
        SystemWeightsError, match=r"some needs.*not there. They are made by `make them`"
    ):
        found.require()
    assert adapters(tmp_path, "write").missing == ""
    (tmp_path / "write" / ADAPTER).unlink()
    assert OwnAdapters("some", (), tmp_path / "write").missing.startswith(
        str(tmp_path / "write" / ADAPTER)
    )
    adapters(tmp_path).require()


def test_the_folder_of_a_training_will_do_until_an_adapter_lies_in_it_itself(
    tmp_path: Path,
) -> None:
    shutil.copytree(tiny_weights() / "write", tmp_path / "write" / "final")
    found = adapters(tmp_path, "write")
    assert found.missing == ""
    assert found.load(SHARED.mplus, "write").up
    assert found.digest == adapters(tiny_weights(), "write").digest
    shutil.copytree(tiny_weights() / "read", tmp_path / "write", dirs_exist_ok=True)
    assert adapters(tmp_path, "write").digest == adapters(tiny_weights(), "read").digest


def test_the_digest_is_that_of_all_weights_and_of_none_it_is_empty(tmp_path: Path) -> None:
    weights = (tiny_weights() / "read" / ADAPTER).read_bytes()
    assert OwnAdapters("some", (), tiny_weights() / "read").digest == sha256(weights).hexdigest()
    both = adapters(tiny_weights(), "read", "write").digest
    assert both not in ("", adapters(tiny_weights(), "read").digest)
    assert adapters(tmp_path).digest == ""


def test_a_damaged_adapter_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    shutil.copytree(tiny_weights(), tmp_path, dirs_exist_ok=True)
    (tmp_path / "write" / ADAPTER).write_bytes(b"no tensors")
    found = adapters(tmp_path, "write", "read")
    assert found.load(SHARED.mplus, "read").up
    with pytest.raises(SystemWeightsError, match="made by `make them`"):
        found.load(SHARED.mplus, "write")
