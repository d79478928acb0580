"""The checks of ``doctor`` find a sick model and say what is wrong; a healthy one passes them."""

from __future__ import annotations

from collections.abc import Callable

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
        "weights",
        "frequencies",
        "oracle",
        "memory",
    ]
    assert failed(model) == {}
    require_healthy(model)


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
