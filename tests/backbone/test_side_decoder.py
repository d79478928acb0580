"""A smaller decoder beside a stock one: the family's own, with two things put in by the call."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, CONFIGS, make_model, make_mplus, some_ids
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.layer_states import Text, layer_states, text_of
from memplus.backbone.rope import rotate
from memplus.backbone.side_decoder import SideDecoder

EXACT = 1e-5
PLAIN = Text(None, None)
IDS = some_ids(2, 9, seed=3)


def backbone_of(name: str) -> Backbone:
    return Backbone(make_model(name, attention="eager" if name.startswith("gemma2") else "sdpa"))


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_copies_of_all_layers_with_nothing_added_are_the_stock_decoder(name: str) -> None:
    backbone = backbone_of(name)
    side = SideDecoder(backbone, range(4), 2)
    whole = layer_states(backbone, IDS, (0,), whole=True)
    nothing = [torch.zeros_like(whole.at[0])] * 4
    found = side(whole.at[0], nothing, None, PLAIN)
    assert whole.final is not None
    assert torch.allclose(found, whole.final, atol=EXACT)
    assert not any(one.is_meta for one in [*side.buffers(), *side.parameters()])


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "gemma2"])
def test_a_change_gets_queries_without_rotation_and_what_attention_found(name: str) -> None:
    """Attention worked out again from these queries and the stock layer's keys is what it got."""
    backbone = backbone_of(name)
    side, layer = SideDecoder(backbone, [1, 3], 1), backbone.layers[3]
    states = layer_states(backbone, IDS, (0, 3)).at
    seen: list[Tensor] = []

    def change(query: Tensor, local: Tensor) -> Tensor:
        seen.extend((query, local))
        return query

    # The first layer's output is replaced by what the stock decoder's last layer gets.
    side.decoder.layers[0].register_forward_hook(lambda m, a, out: states[3])
    nothing = [torch.zeros_like(states[0])] * 2
    changed = side(states[0], nothing, change, PLAIN)
    query, local = seen
    keys, values = layer.project(states[3])
    angles = backbone.angles(layer, 9, query)
    turned, against = rotate(query, angles), rotate(keys, angles)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        *(one.transpose(1, 2) for one in (turned, against, values)),
        is_causal=True,
        scale=layer.attention.scaling,  # type: ignore[arg-type]
        enable_gqa=True,
    )
    assert torch.allclose(local, wanted.transpose(1, 2), atol=EXACT)
    assert not torch.allclose(changed, side(states[0], nothing, None, PLAIN), atol=1e-3)
    same = side(states[0], nothing, lambda query, local: local, PLAIN)
    assert same.equal(side(states[0], nothing, None, PLAIN))


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gpt_neox", "mistral-window"])
def test_it_reads_in_parts_with_padding_at_the_left(name: str) -> None:
    backbone = backbone_of(name)
    side = SideDecoder(backbone, [0, 2], 1)
    hidden = torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(1))
    added = [0.1 * hidden, -0.2 * hidden]
    pad, cache = torch.tensor([0, 3]), side.new_cache()
    parts = []
    for start, stop in ((0, 6), (6, 7), (7, 8)):
        own = [one[:, start:stop] for one in added]
        text = text_of(stop - start, pad, before=start)
        parts.append(side(hidden[:, start:stop], own, None, text, cache))
    found = torch.cat(parts, dim=1)
    assert torch.allclose(
        found[0], side(hidden[:1], [o[:1] for o in added], None, PLAIN)[0], atol=EXACT
    )
    alone = side(hidden[1:, 3:], [one[1:, 3:] for one in added], None, PLAIN)
    assert torch.allclose(found[1:, 3:], alone, atol=EXACT)


def test_its_weights_are_its_own_and_all_of_them_learn() -> None:
    backbone = backbone_of("llama")
    side = SideDecoder(backbone, [1, 3], 0)
    names = [name for name, _ in side.named_parameters()]
    assert "decoder.layers.1.self_attn.q_proj.weight" in names
    assert not any("embed" in name for name in names)
    hidden = torch.randn(1, 4, 32)
    side(hidden, [hidden, hidden], lambda query, local: local + query, PLAIN).sum().backward()
    assert all(one.grad is not None for one in side.parameters())
    assert all(one.grad is None for one in backbone.model.parameters())
    stock = {one.data_ptr() for one in backbone.model.parameters()}
    assert not stock & {one.data_ptr() for one in side.parameters()}


def test_adapters_of_the_decoder_are_not_copied() -> None:
    adapted = make_mplus(config=replace(CONFIG, adapters=ADAPTERS)).core.backbone
    side, plain = SideDecoder(adapted, [1, 3], 0), SideDecoder(backbone_of("llama"), [1, 3], 0)
    for (name, one), (other_name, other) in zip(
        side.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert name == other_name
        assert one.equal(other)


def test_making_one_draws_nothing_at_random_and_a_copy_stands_alone() -> None:
    backbone = backbone_of("llama")
    before = torch.get_rng_state()
    side = SideDecoder(backbone, [1, 3], 1)
    assert torch.get_rng_state().equal(before)
    twin = copy.deepcopy(side)
    hidden = torch.randn(1, 4, 32)
    with torch.no_grad():
        first = side(hidden, [hidden] * 2, lambda query, local: query, PLAIN)
        for weight in side.parameters():
            weight.zero_()
        assert twin(hidden, [hidden] * 2, lambda query, local: query, PLAIN).equal(first)


def test_norms_may_have_another_epsilon() -> None:
    for name in ("llama", "gpt_neox"):
        backbone = backbone_of(name)
        side = SideDecoder(backbone, [1, 3], 1)
        side.set_eps(0.5)
        hidden = 0.1 * torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(2))
        other = SideDecoder(backbone, [1, 3], 1)
        with torch.no_grad():
            far = side(hidden, [hidden] * 2, None, PLAIN)
            assert not torch.allclose(far, other(hidden, [hidden] * 2, None, PLAIN), atol=1e-2)


def test_in_half_precision_positions_stay_whole() -> None:
    backbone = Backbone(make_model(dtype=torch.bfloat16))
    rotary = backbone.decoder.rotary_emb
    backbone.decoder.rotary_emb = type(rotary)(backbone.config)  # as a checkpoint is loaded
    side = SideDecoder(backbone, [1, 3], 1)
    assert side.decoder.rotary_emb.inv_freq.dtype == torch.float32
    assert {one.dtype for one in side.parameters()} == {torch.bfloat16}
