"""A directory's stock weights are the same whatever lies beside them, and however it is divided."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.fakes import CONFIGS, make_model
from tests.mplus.bundle_folders import answers, over, write_base
from tests.reference.checkpoints import Shape, random_checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel

from memplus import MemoryConfig, MPlus
from memplus.backbone.base_weights import adapted_names, stored_weights, untied_state
from memplus.backbone.layouts import base_config
from memplus.errors import WeightsError
from memplus.mplus.fingerprint import stored_digest


def empty(folder: Path) -> PreTrainedModel:
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(base_config(folder))
    return model


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return stored_weights(folder, empty(folder))


def sizes_for(name: str) -> MemoryConfig:
    targets = {"phi3": "qkv_proj", "gpt_neox": "query_key_value"}.get(name.split("-")[0], "v_proj")
    adapters = {"rank": 2, "alpha": 4, "targets": [targets]}
    sizes = {"short_term_tokens": 6, "retrieved_tokens": 2, "tokens_per_write": 3}
    return MemoryConfig.from_dict(sizes | {"chunk_tokens": 5, "adapters": adapters})


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3", "gemma3", "gpt_neox"])
def test_they_are_those_of_the_stock_model_under_its_names(tmp_path: Path, name: str) -> None:
    write_base(tmp_path, name)
    expected = untied_state(make_model(name))
    found = stored(tmp_path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[one], expected[one]) for one in expected)


@pytest.mark.parametrize("name", [one for one in CONFIGS if not one.startswith("gemma2")])
def test_adapters_and_memory_weights_beside_them_do_not_count(tmp_path: Path, name: str) -> None:
    base = write_base(tmp_path / "base", name)
    over(base, sizes_for(name)).save_pretrained(tmp_path / "whole")
    assert stored_digest(stored(base)) == stored_digest(stored(tmp_path / "whole"))


@pytest.mark.parametrize("tied", [False, True])
def test_tied_weights_count_once_also_where_a_file_has_both(tmp_path: Path, tied: bool) -> None:
    write_base(tmp_path, changes={"tie_word_embeddings": tied})
    once = stored(tmp_path)
    assert ("lm_head.weight" in once) != tied
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(tensors, file, metadata={"format": "pt"})
    assert stored(tmp_path).keys() == once.keys()


def test_shards_make_no_difference_and_the_dtype_does(tmp_path: Path) -> None:
    write_base(tmp_path)
    whole = stored_digest(stored(tmp_path))
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    halves = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    assert stored_digest(halves) != stored_digest(tensors) == whole
    file.unlink()
    parts = {"model-00001-of-00002.safetensors": sorted(tensors)[::2]}
    parts["model-00002-of-00002.safetensors"] = sorted(tensors)[1::2]
    for part, names in parts.items():
        save_file({name: tensors[name] for name in names}, tmp_path / part)
    index = {"weight_map": {name: part for part, names in parts.items() for name in names}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert stored_digest(stored(tmp_path)) == whole


def test_a_published_checkpoint_is_a_base_without_its_memory(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "published", Shape())
    model = MPlus.from_pretrained(tmp_path / "published").eval()
    names = stored(tmp_path / "published")
    assert names.keys() == adapted_names(untied_state(model.model)).keys()
    model.save_pretrained(tmp_path / "bundle", base="reference")
    model.save_pretrained(tmp_path / "whole")
    bundle = answers(MPlus.from_pretrained(tmp_path / "bundle"), 60)
    assert torch.equal(bundle, answers(MPlus.from_pretrained(tmp_path / "whole"), 60))


def test_what_is_missing_left_over_or_misshapen_is_named(tmp_path: Path) -> None:
    write_base(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    tensors["model.extra.weight"] = torch.ones(2)
    tensors["lm_head.weight"] = torch.ones(2, 2)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError) as refused:
        stored(tmp_path)
    assert str(tmp_path) in refused.value.message
    assert "lm_head.weight" in refused.value.message or "norm" in refused.value.message
