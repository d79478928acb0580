"""Models that are offloaded, spread or packed are refused when the memory is given to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload
from tests.fakes import CONFIG, make_model, make_mplus
from transformers import AutoModelForCausalLM, PreTrainedModel

from memplus import MPlus
from memplus.backbone.whole import check_whole
from memplus.errors import UnsupportedModelError


def offloaded(path: Path, **places: str) -> PreTrainedModel:
    """The stock model of a directory with parts of it on the disk."""
    names = ["model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head"]
    device_map = dict.fromkeys([*names, *(f"model.layers.{layer}" for layer in range(4))], "cpu")
    device_map |= places
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path, device_map=device_map, offload_folder=path / "offload"
    )
    return model


@pytest.mark.parametrize("part", ["model.layers.1", "model.embed_tokens", "lm_head"])
def test_a_model_that_is_partly_on_the_disk_is_refused(tmp_path: Path, part: str) -> None:
    make_model().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="load it whole onto one device"):
        MPlus.from_backbone(offloaded(tmp_path, **{part: "disk"}), CONFIG)


def test_a_model_offloaded_to_the_main_memory_is_refused() -> None:
    model = make_model()
    cpu_offload(model, execution_device=torch.device("cpu"))
    with pytest.raises(UnsupportedModelError, match="load it whole onto one device"):
        MPlus.from_backbone(model, CONFIG)


def test_a_model_without_its_weights_is_refused() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(make_model().config)
    with pytest.raises(UnsupportedModelError, match="lie on meta"):
        MPlus.from_backbone(model, CONFIG)
    whole = make_model()
    whole.model.norm.weight = torch.nn.Parameter(whole.model.norm.weight.to("meta"))
    with pytest.raises(UnsupportedModelError, match="lie on cpu, meta"):
        check_whole(whole)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_model_that_torch_has_quantised_is_refused_by_name() -> None:
    quantised = torch.ao.quantization.quantize_dynamic(make_model(), {torch.nn.Linear})
    with pytest.raises(UnsupportedModelError, match=r"torch has quantised .*q_proj"):
        MPlus.from_backbone(quantised, CONFIG)


def test_a_whole_model_passes() -> None:
    check_whole(make_model())
    check_whole(make_mplus().model)
