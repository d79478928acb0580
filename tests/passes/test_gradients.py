"""Gradients of a read's loss through written rows, with and without checkpointing."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from torch import Tensor

from memplus import MPlus
from memplus.passes.read import HiddenPrefix

TARGETS = {
    "llama": ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj", "gate_proj"),
    "mistral-window": ("q_proj", "k_proj", "v_proj"),
    "gemma2": ("q_proj", "k_proj", "v_proj"),
    "olmo2": ("q_proj", "k_proj", "v_proj"),
    "phi3": ("qkv_proj",),
    "gpt_neox": ("query_key_value",),
}


def adapted(name: str) -> MPlus:
    from memplus.config import AdapterConfig

    adapters = AdapterConfig(rank=2, alpha=4, targets=TARGETS[name])
    attention = "eager" if name == "gemma2" else "sdpa"
    return make_mplus(name, replace(CONFIG, adapters=adapters), attention=attention).train()


def checkpoint(model: MPlus, *options: Any) -> None:
    """The library's own switch, which its latest releases call by another name too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model.model.gradient_checkpointing_enable(*options)  # type: ignore[operator]


def loss(model: MPlus, how: str) -> Tensor:
    """Two writes in a row and a read of both, by the facade or by the training entries."""
    first, second, prompt = some_ids(10), some_ids(4, seed=1), some_ids(7, seed=2)
    if how == "facade":
        memory = model.new_memory()
        model.write(memory, some_ids(30, seed=3).tolist())
        rows = model.compress(memory, second)
        found: Tensor = model(prompt, memory=memory, new_rows=rows, labels=prompt).loss
        return found
    if how == "fresh":
        rows = model.compress(None, first)
        found = model(prompt, new_rows=rows, labels=prompt).loss
        return found
    rows = model.core.write_rows(first[None], model.core.context([None]))
    more = model.core.write_rows(second[None], rows)
    prefix = HiddenPrefix(model.backbone, model.weights, torch.cat([rows, more], dim=2))
    logits = model.core.logits(model.core.read_rows(prompt[None], prefix))[0]
    return torch.nn.functional.cross_entropy(logits[:-1], prompt[1:])


def gradients(model: MPlus, how: str, before_backward: Any = None) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    value = loss(model, how)
    if before_backward is not None:
        before_backward(model)
    value.backward()
    named = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad(set_to_none=True)
    return named


def activate(model: MPlus, name: str) -> None:
    """As a caller might, between forward and backward."""
    for module in model.model.modules():
        if hasattr(module, "lora_A"):
            flags = [(w, w.requires_grad) for w in module.parameters()]
            module.set_adapter(name)  # type: ignore[operator]
            for weight, flag in flags:
                weight.requires_grad_(flag)


def assert_alike(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, grad in left.items():
        assert (grad - right[name]).abs().max().item() <= 2e-5 * max(1, grad.abs().max()), name


def reaching(found: dict[str, Tensor]) -> set[str]:
    kinds = ("lora_A.default", "lora_B.default", "lora_A.decoder_adapter", "lora_B.decoder_adapter")
    reached = {k for k in kinds for n, g in found.items() if k in n and bool(g.abs().max() > 0)}
    learned = ("weights.bos_embedding", "weights.memory_embedding")
    return reached | {n for n in learned if n in found and bool(found[n].abs().max() > 0)}


EVERYTHING = {
    "lora_A.default",
    "lora_B.default",
    "lora_A.decoder_adapter",
    "lora_B.decoder_adapter",
    "weights.bos_embedding",
    "weights.memory_embedding",
}


# Norms compute in float32 whatever the weights, so a smaller step would drown.
STEP = 1e-4


@pytest.mark.parametrize("how", ["facade", "training"])
@pytest.mark.parametrize("name", TARGETS)
def test_gradients_reach_both_adapters_with_and_without_checkpointing(name: str, how: str) -> None:
    model = adapted(name)
    plain = gradients(model, how)
    assert reaching(plain) == EVERYTHING
    assert all(bool(grad.isfinite().all()) for grad in plain.values())

    checkpoint(model)
    assert_alike(plain, gradients(model, how))
    checkpoint(model, {"use_reentrant": False})
    assert_alike(plain, gradients(model, how))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("active", ["default", "decoder_adapter"])
@pytest.mark.parametrize("how", ["facade", "fresh", "training"])
def test_the_adapter_active_at_backward_time_does_not_matter(
    how: str, active: str, checkpointing: bool
) -> None:
    model = adapted("llama")
    plain = gradients(model, how)
    if checkpointing:
        checkpoint(model)
    found = gradients(model, how, lambda one: activate(one, active))
    assert_alike(plain, found)
    layer = model.backbone.layers[0].attention.q_proj
    assert layer.active_adapters == [active]


def test_fresh_rows_alone_are_read_under_the_write_adapter() -> None:
    found = gradients(adapted("llama"), "fresh")
    written = EVERYTHING - {"lora_A.decoder_adapter", "lora_B.decoder_adapter"}
    assert reaching(found) == written


def test_checkpointing_recomputes_and_so_saves_nothing_twice() -> None:
    """Layers do run again in the backward pass, under the same session."""
    model = adapted("llama")
    calls: list[int] = []
    for layer in model.backbone.layers:
        layer.attention.register_forward_pre_hook(lambda m, a: calls.append(1))
    gradients(model, "training")
    once = len(calls)
    calls.clear()
    checkpoint(model)
    gradients(model, "training")
    assert len(calls) == 2 * once


def test_a_small_step_changes_the_loss_as_the_gradient_says() -> None:
    model = adapted("llama").double()
    model.backbone.rope._tables.clear()
    found = gradients(model, "training")
    generator = torch.Generator().manual_seed(4)
    for name in ("weights.memory_embedding", "weights.bos_embedding"):
        weight = model.get_parameter(name)
        way = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        expected = float((found[name] * way).sum())
        with torch.no_grad():
            weight.add_(STEP * way)
            up = float(loss(model, "training"))
            weight.sub_(2 * STEP * way)
            down = float(loss(model, "training"))
            weight.add_(STEP * way)
        assert (up - down) / (2 * STEP) == pytest.approx(expected, rel=2e-3)


def test_gradients_of_a_batch_with_masked_rows_equal_single_ones() -> None:
    """Masked prefix rows take their positions and nothing else."""
    model = make_mplus()
    prompt = some_ids(2, 6)
    rows = torch.randn(2, 4, 9, 32, generator=torch.Generator().manual_seed(3))
    mask = torch.tensor([[True] * 9, [True] * 5 + [False] * 4])
    prefix = HiddenPrefix(model.backbone, model.weights, rows, mask=mask)
    together = model.core.read_rows(prompt, prefix)
    changed = rows.clone()
    changed[1, :, 5:] += 3
    other = HiddenPrefix(model.backbone, model.weights, changed, mask=mask)
    assert (model.core.read_rows(prompt, other) - together).abs().max().item() <= 2e-5
    first = HiddenPrefix(model.backbone, model.weights, rows[:1])
    alone = model.core.read_rows(prompt[:1], first)
    assert (together[:1] - alone).abs().max().item() <= 2e-5
