"""Trained weights and what they are, as two files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from memplus.errors import ConfigError, MissingWeightsDirectory
from memplus.mplus.trained_folder import read_values, write_trained


def files(folder: Path) -> tuple[Path, Path]:
    weights, record = folder / "new" / "some.safetensors", folder / "new" / "some.json"
    write_trained(weights, {"one": torch.tensor([1.0, 2.5])}, record, {"name": "it"})
    return weights, record


def test_weights_are_kept_in_bfloat16_beside_what_they_are(tmp_path: Path) -> None:
    weights, record = files(tmp_path)
    (kept,) = load_file(weights).values()
    assert kept.dtype == torch.bfloat16
    assert kept.tolist() == [1.0, 2.5]
    assert read_values(weights, record, lambda values: values["name"]) == "it"


@pytest.mark.parametrize("gone", [0, 1])
def test_a_file_that_is_not_there_is_named(gone: int, tmp_path: Path) -> None:
    both = files(tmp_path)
    both[gone].unlink()
    with pytest.raises(MissingWeightsDirectory, match=both[gone].name):
        read_values(*both, dict)


@pytest.mark.parametrize("text", ["[", "[]", "{}", json.dumps({"format": 9, "name": "it"})])
def test_a_damaged_record_is_refused(text: str, tmp_path: Path) -> None:
    weights, record = files(tmp_path)
    record.write_text(text)
    with pytest.raises(ConfigError, match="damaged"):
        read_values(weights, record, lambda values: values["name"])
