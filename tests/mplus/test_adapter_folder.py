from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.backbone.test_lora import drawn
from tests.fakes import make_model, make_tokenizer

from memplus.backbone.access import Backbone
from memplus.backbone.lora import LoraSizes
from memplus.errors import BundleBaseError, ConfigError, MissingWeightsDirectory, WeightsError
from memplus.mplus.adapter_folder import (
    ADAPTER,
    RECORD,
    AdapterRecord,
    base_digest,
    load_adapter,
    read_record,
    save_adapter,
)
from memplus.mplus.locating import Origin

SIZES = LoraSizes(rank=3, alpha=6)
RECORDED = AdapterRecord(SIZES, "tiny", "0" * 64, {"steps": 3})


@pytest.fixture
def backbone() -> Backbone:
    return Backbone(make_model())


def test_an_adapter_comes_back_in_16_bits_and_is_not_trained_further(
    tmp_path: Path, backbone: Backbone
) -> None:
    lora = drawn(backbone, SIZES)
    save_adapter(tmp_path / "new" / "folder", lora, RECORDED)
    state = torch.get_rng_state()
    found = load_adapter(tmp_path / "new" / "folder", backbone, "0" * 64)
    assert torch.get_rng_state().equal(state)
    assert found.sizes == SIZES
    for name, weight in lora.tensors().items():
        assert found.tensors()[name].equal(weight.bfloat16().float())
    assert not any(weight.requires_grad for weight in found.parameters())
    assert read_record(tmp_path / "new" / "folder") == RECORDED


def test_the_shipped_size_stays_below_six_megabytes(tmp_path: Path, backbone: Backbone) -> None:
    save_adapter(tmp_path, drawn(backbone, SIZES), RECORDED)
    numbers = sum(weight.numel() for weight in drawn(backbone, SIZES).parameters())
    assert (tmp_path / ADAPTER).stat().st_size < 2 * numbers + 10_000


def test_another_base_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    save_adapter(tmp_path, drawn(backbone, SIZES), RECORDED)
    with pytest.raises(BundleBaseError) as caught:
        load_adapter(tmp_path, backbone, "1" * 64)
    assert caught.value.fields["expected"] == "0" * 64


def test_a_model_of_other_sizes_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    save_adapter(tmp_path, drawn(backbone, SIZES), RECORDED)
    with pytest.raises(WeightsError):
        load_adapter(tmp_path, Backbone(make_model("llama-wide-heads")))


def test_what_is_missing_or_damaged_is_named(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(MissingWeightsDirectory, match=RECORD):
        read_record(tmp_path)
    save_adapter(tmp_path, drawn(backbone, SIZES), RECORDED)
    record = json.loads((tmp_path / RECORD).read_text())
    for wrong in ("{", "[]", json.dumps(record | {"format": 9}), json.dumps({"format": 1})):
        (tmp_path / RECORD).write_text(wrong)
        with pytest.raises(ConfigError, match=RECORD):
            read_record(tmp_path)
    (tmp_path / RECORD).write_text(json.dumps(record))
    (tmp_path / ADAPTER).write_bytes(b"no tensors")
    with pytest.raises(WeightsError):
        load_adapter(tmp_path, backbone)
    (tmp_path / ADAPTER).unlink()
    with pytest.raises(MissingWeightsDirectory, match=ADAPTER):
        read_record(tmp_path)


def test_a_base_is_known_by_its_stored_weights(tmp_path: Path, backbone: Backbone) -> None:
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        make_model(seed=seed).save_pretrained(tmp_path / name)
        make_tokenizer().save_pretrained(tmp_path / name)
    one, same, other = (
        base_digest(Origin("folder", name, tmp_path / name), backbone)
        for name in ("one", "same", "other")
    )
    assert one == same
    assert one != other
    assert base_digest(Origin("folder", "gone", tmp_path / "gone"), backbone) is None
