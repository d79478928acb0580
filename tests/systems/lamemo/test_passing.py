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


@pytest.mark.parametrize("lookahead", ["mirrored", "signed", "off"])
@pytest.mark.parametrize("name", FAMILIES)
def test_many_questions_are_what_each_is_alone(name: str, lookahead: str) -> None:
    """Two texts, three questions each, of which two begin alike: states and gradients."""
    mechanism = made(name, lookahead=lookahead)
    passes, blend = mechanism._passes, mechanism._blend
    window = mechanism.write(mechanism.empty(2), text(10, rows=2)).repeated(3)
    ids = text(5, rows=6, seed=1)
    ids[[0, 2, 3, 5], 0] = ids[0, 0]
    toward = torch.randn(6, 5, 32, generator=torch.Generator().manual_seed(0))
    (passes.look(window, ids, blend).hidden * toward).sum().backward()
    shared = [one.grad for one in mechanism.parameters()]
    mechanism.zero_grad()
    together = passes.look(window, ids, blend)
    for row in range(6):
        alone = passes.look(window.of_rows([row]), ids[row : row + 1], blend)
        (alone.hidden * toward[row]).sum().backward()
        assert (together.hidden[row] - alone.hidden[0]).abs().max() < 2e-5
        for given, own in (
            (together.keys, alone.keys),
            (together.values, alone.values),
            (together.queries, alone.queries),
        ):
            for one, other in zip(given, own, strict=True):
                assert one.shape[1:] == other.shape[1:]
                assert (one[row] - other[0]).abs().max() < 2e-5
        assert together.scales == alone.scales
    for one, parameter in zip(shared, mechanism.parameters(), strict=True):
        assert (one is None) == (parameter.grad is None)
        if one is not None and parameter.grad is not None:
            assert torch.allclose(one, parameter.grad, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_questions_of_one_token_share_all_of_it() -> None:
    mechanism = made()
    window = mechanism.write(mechanism.empty(1), text(10)).repeated(3)
    ids = torch.tensor([[5], [6], [5]])
    together = mechanism._passes.look(window, ids, mechanism._blend)
    for row in range(3):
        alone = mechanism._passes.read(window.of_rows([row]), ids[row : row + 1], mechanism._blend)
        assert (together.hidden[row] - alone.hidden[0]).abs().max() < 2e-5
    assert together.keys[0].shape[0] == together.queries[-1].shape[0] == 3
    assert torch.equal(together.hidden[0], together.hidden[2])


@torch.no_grad()
def test_what_is_remembered_is_read_once_for_all_questions_that_begin_alike() -> None:
    mechanism, positions = made(), []
    window = mechanism.write(mechanism.empty(1), text(10)).repeated(4)
    ids = text(5, rows=4, seed=1)
    ids[:3, 0] = ids[0, 0]
    layer = mechanism.backbone.layers[0].module
    handle = layer.register_forward_pre_hook(lambda module, args: positions.append(args[0].shape))
    mechanism._passes.look(window, ids, mechanism._blend)
    handle.remove()
    first = window.count + 1
    assert [shape[0] * shape[1] for shape in positions] == [2 * first, 4 * 4]


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
