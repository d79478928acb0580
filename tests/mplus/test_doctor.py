"""The checks of ``doctor`` find a sick model and say what is wrong; a healthy one passes them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.fakes import make_mplus

from memplus import MPlus
from memplus.errors import SelfTestError
from memplus.mplus.doctor import examine, require_healthy


def failed(model: MPlus) -> dict[str, str]:
    return {check.name: check.detail for check in examine(model) if not check.ok}


@pytest.mark.parametrize("family", ["llama", "qwen3", "phi3", "gpt_neox"])
def test_a_healthy_model_passes_every_check(family: str) -> None:
    model = make_mplus(family)
    assert [check.name for check in examine(model)] == [
        "dtype",
        "weights",
        "frequencies",
        "oracle",
        "memory",
    ]
    assert failed(model) == {}
    require_healthy(model)


def test_the_dtype_is_said_with_its_reason(tmp_path: Path) -> None:
    given = make_mplus()
    assert examine(given)[0].detail == "float32, as it was given"
    given.save_pretrained(tmp_path)
    asked = MPlus.from_pretrained(tmp_path, dtype="bfloat16")
    assert examine(asked)[0].detail == "bfloat16, as asked for"
    own = MPlus.from_pretrained(tmp_path)
    assert examine(own)[0].detail == "float32, the checkpoint's own"
    assert examine(copy.deepcopy(own))[0].detail == "float32, the checkpoint's own"


def no_number(model: MPlus) -> None:
    model.model.get_parameter("model.layers.2.mlp.up_proj.weight")[0, 0] = torch.nan


def all_zeros(model: MPlus) -> None:
    model.model.get_parameter("model.layers.1.self_attn.o_proj.weight").zero_()


def garbage_frequencies(model: MPlus) -> None:
    frequencies = model.backbone.decoder.rotary_emb.inv_freq
    frequencies.copy_(torch.linspace(0.1, 1.0, len(frequencies)))


@pytest.mark.parametrize(
    ("harm", "check", "word"),
    [
        (no_number, "weights", "layers.2.mlp.up_proj"),
        (all_zeros, "weights", "o_proj"),
        (garbage_frequencies, "frequencies", "layer 0"),
    ],
)
def test_what_is_wrong_is_named(harm: Callable[[MPlus], None], check: str, word: str) -> None:
    model = make_mplus()
    with torch.no_grad():
        harm(model)
    assert word in failed(model)[check]
    with pytest.raises(SelfTestError, match=check):
        require_healthy(model)
