import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import make_mplus
from tests.systems.latent.toy import ToyMechanism

from memplus.errors import (
    BundleBaseError,
    ConfigError,
    MissingWeightsDirectory,
    WeightsError,
)
from memplus.systems.latent.weights import (
    RECORD,
    WEIGHTS,
    WeightsRecord,
    load_weights,
    missing_file,
    read_record,
    save_weights,
)

MADE = WeightsRecord("toy", {"segment": 16, "decay": 0.5}, "tiny", "ab", {"steps": 3})


def mechanism(name: str = "llama", value: float = 0.0) -> ToyMechanism:
    made = ToyMechanism(make_mplus(name).core.backbone, 16, 96, 0.5)
    made.first.data.fill_(value)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_weights(tmp_path / "made" / "here", mechanism(value=1.25), MADE)
    return tmp_path / "made" / "here"


def test_what_is_kept_is_in_bfloat16_and_is_read_back(folder: Path) -> None:
    assert {one.dtype for one in load_file(folder / WEIGHTS).values()} == {torch.bfloat16}
    assert read_record(folder) == MADE
    other = mechanism()
    load_weights(folder, other, "ab")
    assert other.first.tolist() == [1.25] * 32
    assert other.first.dtype == torch.float32
    assert not any(one.requires_grad for one in other.parameters())
    assert not other.training


def test_another_base_is_refused(folder: Path) -> None:
    with pytest.raises(BundleBaseError, match="tiny"):
        load_weights(folder, mechanism(), "cd")


def test_a_folder_that_lacks_a_file_is_named(folder: Path) -> None:
    assert missing_file(folder) == ""
    (folder / WEIGHTS).unlink()
    assert missing_file(folder) == str(folder / WEIGHTS)
    with pytest.raises(MissingWeightsDirectory, match=WEIGHTS):
        read_record(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("sizes"),
        lambda values: values.update(format=2),
        lambda values: values.update(sizes=3),
    ],
)
def test_a_damaged_record_is_refused(folder: Path, change: Callable[[Any], None]) -> None:
    values = json.loads((folder / RECORD).read_text())
    change(values)
    (folder / RECORD).write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="damaged"):
        read_record(folder)
    (folder / RECORD).write_text("[]")
    with pytest.raises(ConfigError, match="damaged"):
        read_record(folder)


def test_damaged_weights_are_refused_and_nothing_is_taken(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:100])
    other = mechanism(value=3.0)
    with pytest.raises(WeightsError):
        load_weights(folder, other)
    assert other.first.tolist() == [3.0] * 32


def test_weights_of_another_width_are_refused(folder: Path) -> None:
    model = make_mplus(changes={"hidden_size": 16, "head_dim": 4})
    with pytest.raises(WeightsError, match=r"\[32\].*\[16\]"):
        load_weights(folder, ToyMechanism(model.core.backbone, 16, 96, 0.5))


@pytest.mark.parametrize(
    ("system", "sizes", "named"),
    [
        ("other", {"segment": 16, "decay": 0.5}, "trained for toy"),
        ("toy", {"segment": 24, "decay": 0.5}, "toy:segment.*segment=16"),
        ("toy", {"segment": 16, "decay": 0.5, "more": 1}, "toy:more.*does not say with which more"),
        ("toy", {"segment": 16}, "toy:decay.*decay=0.5"),
    ],
)
def test_other_sizes_than_it_was_trained_with_are_named(
    system: str, sizes: dict[str, Any], named: str
) -> None:
    MADE.require("toy", MADE.sizes, Path("f"))
    with pytest.raises(ConfigError, match=named):
        MADE.require(system, sizes, Path("f"))


def test_what_is_only_noted_may_differ_or_be_left_out() -> None:
    for sizes in ({"segment": 16, "decay": 0.9}, {"segment": 16}, MADE.sizes | {"more": 1}):
        MADE.require("toy", sizes, Path("f"), noted=("decay", "more"))
    with pytest.raises(ConfigError, match="toy:segment"):
        MADE.require("toy", {"segment": 24}, Path("f"), noted=("decay",))
