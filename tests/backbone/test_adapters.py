"""Two adapters on one model: which is active, and that nothing else of the model changes."""

from __future__ import annotations

from threading import Thread

import pytest
import torch
from tests.fakes import ADAPTERS, make_model, some_ids
from torch import nn

from memplus.backbone.adapters import READ_ADAPTER, WRITE_ADAPTER, Adapters, add_adapters
from memplus.config import AdapterConfig


def adapted(config: AdapterConfig = ADAPTERS) -> nn.Module:
    """A model with adapters that are not at zero, and differ."""
    model = make_model()
    add_adapters(model, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(some_ids(7, 1)).logits
    return found


def test_fresh_adapters_change_nothing() -> None:
    plain, model = make_model(), make_model()
    add_adapters(model, ADAPTERS)
    for name in (WRITE_ADAPTER, READ_ADAPTER):
        with Adapters(model).active(name):
            assert torch.equal(logits(model), logits(plain))


def test_each_adapter_is_active_in_its_pass_alone() -> None:
    model = adapted()
    adapters = Adapters(model)
    assert (adapters.writing, adapters.reading) == (WRITE_ADAPTER, READ_ADAPTER)
    before = logits(model)
    with adapters.active(WRITE_ADAPTER):
        written = logits(model)
        with adapters.active(READ_ADAPTER):
            read = logits(model)
        assert torch.equal(logits(model), written)
    assert not torch.allclose(written, read)
    assert torch.equal(logits(model), before)


def test_a_bypassed_read_is_the_plain_base_in_this_thread_alone() -> None:
    model, plain = adapted(), make_model()
    adapters, seen = Adapters(model), []
    before = logits(model)
    with adapters.bypassed(), adapters.active(adapters.reading):
        assert torch.equal(logits(model), logits(plain))
        other = Thread(target=lambda: seen.append((adapters.reading, logits(model))))
        other.start()
        other.join()
    assert seen[0][0] == adapters.reading == READ_ADAPTER
    assert torch.equal(seen[0][1], before)
    assert torch.equal(logits(model), before)
    without = Adapters(make_model())
    with without.bypassed():
        assert without.reading is None


def test_an_error_puts_the_active_adapter_back() -> None:
    model = adapted()
    before = logits(model)
    with pytest.raises(RuntimeError, match="in the middle"), Adapters(model).active(READ_ADAPTER):
        raise RuntimeError("in the middle")
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("frozen", [WRITE_ADAPTER, READ_ADAPTER])
def test_switching_leaves_what_is_trainable(frozen: str) -> None:
    model = adapted()
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name and frozen not in name)
    flags = {name: weight.requires_grad for name, weight in model.named_parameters()}
    adapters = Adapters(model)
    for name in (READ_ADAPTER, WRITE_ADAPTER):
        with adapters.active(name):
            now = {name: weight.requires_grad for name, weight in model.named_parameters()}
            assert now == flags


def test_adding_adapters_keeps_frozen_weights_frozen() -> None:
    model = make_model()
    model.get_parameter("model.layers.0.self_attn.q_proj.weight").requires_grad_(False)
    add_adapters(model, ADAPTERS)
    flags = {name: weight.requires_grad for name, weight in model.named_parameters()}
    assert not flags["model.layers.0.self_attn.q_proj.base_layer.weight"]
    assert flags["model.layers.1.self_attn.q_proj.base_layer.weight"]
    assert all(flag for name, flag in flags.items() if "lora_" in name)


def test_one_adapter_serves_both_passes_where_there_is_no_second() -> None:
    adapters = Adapters(adapted(AdapterConfig(rank=2, alpha=4, reading=False)))
    assert (adapters.writing, adapters.reading) == (WRITE_ADAPTER, WRITE_ADAPTER)


def test_a_model_without_adapters_has_none_and_runs_as_it_is() -> None:
    model = make_model()
    adapters = Adapters(model)
    assert (adapters.writing, adapters.reading) == (None, None)
    with adapters.active(None):
        assert torch.equal(logits(model), logits(make_model()))


def test_targets_choose_the_layers() -> None:
    model = make_model()
    add_adapters(model, AdapterConfig(rank=2, targets=("v_proj",)))
    carrying = {name.split(".")[-4] for name, _ in model.named_parameters() if "lora_A" in name}
    assert carrying == {"v_proj"}
