from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from tests.fakes import ADAPTERS, CONFIG, make_model, make_mplus, some_ids

from memplus.backbone.access import Backbone
from memplus.backbone.lora import Lora, LoraSizes, linear_names, under
from memplus.errors import ConfigError, WeightsError

SIZES = LoraSizes(rank=3, alpha=6)
IDS = some_ids(1, 12, seed=4)


def drawn(backbone: Backbone, sizes: LoraSizes = SIZES, seed: int = 7) -> Lora:
    """An update that is none of nothing."""
    made = Lora(backbone, sizes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
    return made


@torch.no_grad()
def logits(backbone: Backbone) -> torch.Tensor:
    found: torch.Tensor = backbone.model(input_ids=IDS, use_cache=False).logits
    return found


def test_an_update_is_what_the_adapter_library_computes() -> None:
    backbone = Backbone(make_model())
    lora = drawn(backbone)
    with under(backbone, lora):
        ours = logits(backbone)
    config = LoraConfig(r=3, lora_alpha=6, target_modules=list(SIZES.targets))
    theirs = make_model()
    inject_adapter_in_model(config, theirs)
    named = dict(theirs.model.named_parameters())
    with torch.no_grad():
        for name, weight in lora.tensors().items():
            named[f"{name}.default.weight"].copy_(weight)
        expected = theirs(input_ids=IDS, use_cache=False).logits
    assert not torch.allclose(ours, logits(backbone), atol=1e-2)
    assert torch.allclose(ours, expected, atol=1e-5)


def test_a_generator_draws_an_update_and_leaves_torchs_own_alone() -> None:
    plain, half = (Backbone(make_model(dtype=one)) for one in (torch.float32, torch.bfloat16))
    state = torch.random.get_rng_state()
    first, again, other, rounded = (
        Lora(backbone, SIZES, generator=torch.Generator().manual_seed(seed)).down
        for backbone, seed in ((plain, 1), (plain, 1), (plain, 2), (half, 1))
    )
    assert torch.random.get_rng_state().equal(state)
    for place in range(len(first)):
        assert first[place].equal(again[place])
        assert not first[place].equal(other[place])
        assert first[place].bfloat16().equal(rounded[place])


@pytest.mark.parametrize("name", ["llama", "phi3", "gpt_neox"])
def test_all_linear_layers_can_be_named_whatever_adapters_there_are(name: str) -> None:
    plain = Backbone(make_model(name))
    names = linear_names(plain)
    layers = [m for m in plain.decoder.modules() if isinstance(m, torch.nn.Linear)]
    assert len(Lora(plain, LoraSizes(targets=names)).names) == len(layers)
    if name == "llama":
        assert linear_names(make_mplus(config=replace(CONFIG, adapters=ADAPTERS)).backbone) == names
        assert set(names) == set(LoraSizes().targets)


def test_a_fresh_update_changes_nothing_and_leaves_the_model_as_it_was() -> None:
    backbone = Backbone(make_model())
    before, hooks = logits(backbone), [m._forward_hooks.copy() for m in backbone.decoder.modules()]
    with under(backbone, Lora(backbone, SIZES)):
        assert logits(backbone).equal(before)
    with pytest.raises(RuntimeError, match="stop"), under(backbone, drawn(backbone)):
        raise RuntimeError("stop")
    assert logits(backbone).equal(before)
    assert [m._forward_hooks for m in backbone.decoder.modules()] == hooks


def test_the_memorys_adapters_rest_while_an_update_or_the_plain_decoder_runs() -> None:
    adapted = make_mplus(config=replace(CONFIG, adapters=ADAPTERS)).core.backbone
    plain = Backbone(make_model())
    fingerprint = adapted.adapters.state()
    assert not torch.allclose(logits(adapted), logits(plain), atol=1e-2)
    with under(adapted, None):
        assert logits(adapted).equal(logits(plain))
    lora = drawn(plain)
    with under(adapted, lora):
        with_update = logits(adapted)
    with under(plain, lora):
        assert logits(plain).equal(with_update)
    assert adapted.adapters.state() == fingerprint


def in_a_thread(work: Callable[[], torch.Tensor]) -> torch.Tensor:
    found: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_other_threads_see_the_model_without_it() -> None:
    backbone = Backbone(make_model())
    before = logits(backbone)
    with under(backbone, drawn(backbone)):
        assert in_a_thread(lambda: logits(backbone)).equal(before)


def test_several_updates_serve_one_decoder() -> None:
    backbone = Backbone(make_model())
    one, two = drawn(backbone, seed=1), drawn(backbone, LoraSizes(2, 2, ("q_proj",)), seed=2)
    found = []
    for lora in (one, two, one):
        with under(backbone, lora):
            found.append(logits(backbone))
    assert found[0].equal(found[2])
    assert not found[0].equal(found[1])


def test_a_block_inside_another_holds_alone() -> None:
    backbone = Backbone(make_model())
    one, two = drawn(backbone, seed=1), drawn(backbone, seed=2)
    plain = logits(backbone)
    with under(backbone, two):
        second = logits(backbone)
    with under(backbone, one):
        first = logits(backbone)
        with under(backbone, None):
            assert logits(backbone).equal(plain)
        with under(backbone, two):
            assert logits(backbone).equal(second)
        with under(backbone, one):
            assert logits(backbone).equal(first)
        assert logits(backbone).equal(first)


def test_gradients_reach_the_update_alone() -> None:
    backbone = Backbone(make_model())
    backbone.model.requires_grad_(False)
    lora = drawn(backbone)
    with under(backbone, lora):
        backbone.model(input_ids=IDS, use_cache=False).logits.square().mean().backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in lora.parameters())
    assert all(weight.grad is None for weight in backbone.model.parameters())


def test_weights_come_back_by_name_and_wrong_ones_are_named() -> None:
    backbone = Backbone(make_model())
    lora, other = drawn(backbone), Lora(backbone, SIZES)
    other.load(lora.tensors(), "here")
    for name, weight in lora.tensors().items():
        assert weight.equal(other.tensors()[name])
    spoiled = dict(lora.tensors())
    name = next(iter(spoiled))
    spoiled["extra"] = spoiled.pop(name)[:1]
    with pytest.raises(WeightsError) as caught:
        other.load(spoiled, "here")
    assert caught.value.fields["missing"] == (name,)
    assert caught.value.fields["unexpected"] == ("extra",)


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="query_key"):
        Lora(Backbone(make_model()), LoraSizes(targets=("q_proj", "query_key")))
    for wrong in ({"rank": 0}, {"alpha": 0}, {"targets": ()}):
        with pytest.raises(ConfigError):
            LoraSizes(**wrong)  # type: ignore[arg-type]


def test_layers_below_the_first_one_stay_as_they_are() -> None:
    backbone = Backbone(make_model())
    lora = Lora(backbone, SIZES, first_layer=2)
    assert {name.split(".")[1] for name in lora.names} == {"2", "3"}
    with torch.no_grad():
        for weight in lora.parameters():
            weight.fill_(0.1)
        plain = backbone.decoder(input_ids=IDS, use_cache=False, output_hidden_states=True)
        with under(backbone, lora):
            changed = backbone.decoder(input_ids=IDS, use_cache=False, output_hidden_states=True)
    assert changed.hidden_states[2].equal(plain.hidden_states[2])
    assert not torch.allclose(changed.hidden_states[3], plain.hidden_states[3], atol=1e-2)
