from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, make_model, make_mplus, some_ids

from memplus.backbone.access import Backbone
from memplus.backbone.lower_layers import hidden_after

IDS = some_ids(2, 9, seed=3)


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt_neox"])
def test_the_first_layers_say_what_they_say_in_a_whole_pass(name: str) -> None:
    backbone = Backbone(make_model(name))
    with torch.no_grad():
        whole = backbone.decoder(input_ids=IDS, use_cache=False, output_hidden_states=True)
    for layers in (1, 2, 3):
        found = hidden_after(backbone, IDS, layers)
        assert torch.allclose(found, whole.hidden_states[layers], atol=1e-5)
    assert hidden_after(backbone, IDS, 4).equal(hidden_after(backbone, IDS, 99))


def test_the_memorys_adapters_take_no_part_and_nothing_stays_behind() -> None:
    adapted = make_mplus(config=replace(CONFIG, adapters=ADAPTERS)).core.backbone
    hooks = [len(module._forward_hooks) for module in adapted.decoder.modules()]
    found = hidden_after(adapted, IDS, 2)
    assert found.equal(hidden_after(Backbone(make_model()), IDS, 2))
    assert [len(module._forward_hooks) for module in adapted.decoder.modules()] == hooks
    assert not found.requires_grad
