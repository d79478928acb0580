"""Norms that are trained beside the decoder's own."""

from __future__ import annotations

import threading

import pytest
import torch
from tests.fakes import make_model, some_ids

from memplus.backbone.access import Backbone
from memplus.backbone.norms import Norms

IDS = some_ids(1, 9, seed=4)


@torch.no_grad()
def states(backbone: Backbone) -> tuple[torch.Tensor, ...]:
    found = backbone.decoder(input_ids=IDS, use_cache=False, output_hidden_states=True)
    return (*found.hidden_states[:-1], found.last_hidden_state)


@pytest.mark.parametrize(
    ("name", "of_a_layer"), [("llama", 2), ("qwen3", 4), ("gpt_neox", 2), ("olmo2", 4)]
)
def test_they_begin_as_the_decoders_own_and_are_those_above_a_layer(
    name: str, of_a_layer: int
) -> None:
    backbone = Backbone(make_model(name))
    norms = Norms(backbone, 2)
    assert len(norms.names) == 2 * of_a_layer + 1
    before = states(backbone)
    with norms.standing_in(backbone):
        assert all(one.equal(other) for one, other in zip(states(backbone), before, strict=True))


def test_they_act_while_they_stand_in_and_leave_the_decoder_as_it_was() -> None:
    backbone = Backbone(make_model())
    norms, before = Norms(backbone, 2), states(backbone)
    hooks = [len(module._forward_hooks) for module in backbone.decoder.modules()]
    weights = [weight.clone() for weight in backbone.decoder.parameters()]
    with torch.no_grad():
        for weight in norms.parameters():
            weight.mul_(1.5)
    with norms.standing_in(backbone):
        after = states(backbone)
    assert all(one.equal(other) for one, other in zip(after[:3], before[:3], strict=True))
    assert not torch.allclose(after[3], before[3], atol=1e-2)
    assert not torch.allclose(after[-1], before[-1], atol=1e-2)
    assert all(one.equal(other) for one, other in zip(states(backbone), before, strict=True))
    assert [len(module._forward_hooks) for module in backbone.decoder.modules()] == hooks
    kept = zip(weights, backbone.decoder.parameters(), strict=True)
    assert all(one.equal(other) for one, other in kept)


def test_gradients_reach_them_and_not_the_decoders_own() -> None:
    backbone = Backbone(make_model())
    norms = Norms(backbone, 2)
    with norms.standing_in(backbone):
        backbone.decoder(input_ids=IDS, use_cache=False).last_hidden_state[0, -1, 0].backward()
    assert all(weight.grad is not None for weight in norms.parameters())
    assert backbone.decoder.norm.weight.grad is None


def test_another_thread_gets_the_stock_model_meanwhile() -> None:
    backbone = Backbone(make_model())
    norms, before = Norms(backbone, 0), states(backbone)
    with torch.no_grad():
        for weight in norms.parameters():
            weight.zero_()
    seen: list[torch.Tensor] = []
    with norms.standing_in(backbone):
        other = threading.Thread(target=lambda: seen.append(states(backbone)[-1]))
        other.start()
        other.join()
    assert seen[0].equal(before[-1])


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_weights_of_another_dtype_leave_the_decoders_dtype_as_it_is(name: str) -> None:
    backbone = Backbone(make_model(name, dtype=torch.bfloat16))
    norms, before = Norms(backbone, 1).float(), states(backbone)
    with norms.standing_in(backbone):
        after = states(backbone)
    assert {one.dtype for one in after} == {torch.bfloat16}
    assert torch.allclose(after[-1].float(), before[-1].float(), atol=0.1)
