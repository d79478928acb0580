"""Passes of a stock decoder over remembered positions and text."""

from __future__ import annotations

import pytest
import torch
from tests.systems.lamemo.slow import FAMILIES, made, text

from memplus.systems.lamemo.layer_step import Blend
from memplus.systems.lamemo.passing import Cached, absent
from memplus.systems.lamemo.window import moved


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_taking_in_ends_behind_the_last_attention_and_keeps_the_same(name: str) -> None:
    mechanism = made(name)
    passes, window = mechanism._passes, mechanism.write(mechanism.empty(2), text(10, rows=2))
    ids, ran = text(5, rows=2, seed=1), []
    last = mechanism.backbone.layers[-1].module
    handle = last.register_forward_hook(lambda module, args, output: ran.append(output))
    embeddings, steps = passes.take_in(window, ids, Blend())
    handle.remove()
    assert ran == []
    read = passes.read(window, ids, Blend())
    one = moved(window, embeddings, steps, 8)
    other = moved(window, read.embeddings, read.steps, 8)
    for tensor in one.tensors:
        assert torch.equal(one.tensors[tensor], other.tensors[tensor])


@torch.no_grad()
def test_the_decoder_is_stock_after_taking_in() -> None:
    mechanism = made()
    ids = text(7)
    before = mechanism.backbone.model(ids).logits
    mechanism.write(mechanism.empty(1), ids)
    assert torch.equal(mechanism.backbone.model(ids).logits, before)


def test_without_look_ahead_no_gradient_passes_through_what_is_remembered() -> None:
    mechanism = made(random=False, lookahead="off")
    window = mechanism.write(mechanism.empty(1), text(5))
    passed = mechanism._passes.read(window, text(5, seed=1), Blend(lookahead=False))
    passed.hidden[:, 0].sum().backward()
    up = dict(zip(mechanism.lora.names, mechanism.lora.up, strict=True))
    grad = up["layers.0.self_attn.v_proj"].grad
    assert grad is not None
    assert grad.abs().sum() > 0


def test_absent_keys_get_no_weight() -> None:
    mask = absent(torch.tensor([[True, False]]))
    assert mask.shape == (1, 1, 1, 2)
    assert mask.flatten().tolist() == [0, float("-inf")]


def test_rows_of_a_cache_are_taken() -> None:
    keys, values = torch.arange(6.0).view(3, 1, 1, 2), torch.arange(6.0, 12).view(3, 1, 1, 2)
    cached = Cached([keys], [values], torch.ones(3, 1, dtype=torch.bool))
    some = cached.of_rows([2, 0])
    assert some.keys[0].flatten().tolist() == [4, 5, 0, 1]
    assert some.values[0].flatten().tolist() == [10, 11, 6, 7]
    assert len(some.there) == 2
