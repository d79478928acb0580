"""What stands between layers, in one pass, in parts, and with padding."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, make_model, make_mplus, some_ids

from memplus.backbone.access import Backbone
from memplus.backbone.layer_states import layer_states, new_cache, text_of

IDS = some_ids(2, 9, seed=3)
EXACT = 1e-5


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox", "gemma3"])
def test_places_are_what_the_library_says_and_the_last_comes_before_the_norm(name: str) -> None:
    backbone = Backbone(make_model(name))
    with torch.no_grad():
        whole = backbone.decoder(input_ids=IDS, output_hidden_states=True)
    found = layer_states(backbone, IDS, range(5), whole=True)
    for place in range(4):
        assert torch.allclose(found.at[place], whole.hidden_states[place], atol=EXACT)
    assert found.final is not None
    assert torch.allclose(found.final, whole.last_hidden_state, atol=EXACT)
    norm = getattr(backbone.decoder, "norm", None) or backbone.decoder.final_layer_norm
    assert torch.allclose(norm(found.at[4]), found.final, atol=EXACT)


def test_a_pass_that_is_not_whole_ends_at_its_last_place() -> None:
    backbone = Backbone(make_model())
    ran: list[int] = []
    for layer in backbone.layers:
        layer.module.register_forward_hook(lambda m, a, out, at=layer.index: ran.append(at))
    found = layer_states(backbone, IDS, (0, 2))
    assert (sorted(found.at), found.final, ran) == ([0, 2], None, [0, 1])
    assert layer_states(backbone, IDS, (0,)).at[0].equal(backbone.embedding(IDS))
    assert ran == [0, 1]


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_a_text_may_be_read_in_parts_with_padding_before_it(name: str) -> None:
    backbone = Backbone(make_model(name))
    pad = torch.tensor([0, 4])
    padded = IDS.clone()
    padded[1] = torch.cat([torch.full((4,), 256), IDS[1, :5]])
    cache = new_cache(backbone.config)
    text = text_of(6, pad)
    first = layer_states(backbone, padded[:, :6], (3,), whole=True, text=text, cache=cache)
    text = text_of(3, pad, before=6)
    rest = layer_states(backbone, padded[:, 6:], (3,), whole=True, text=text, cache=cache)
    found = torch.cat([first.at[3], rest.at[3]], dim=1)
    assert torch.allclose(found[:1], layer_states(backbone, IDS[:1], (3,)).at[3], atol=EXACT)
    alone = layer_states(backbone, IDS[1:, :5], (3,)).at[3]
    assert torch.allclose(found[1:, 4:], alone, atol=EXACT)


def test_without_padding_no_mask_is_made() -> None:
    for pad in (None, torch.tensor([0, 0])):
        text = text_of(5, pad)
        assert text.mask is None
        assert text.positions is None
    text = text_of(2, torch.tensor([0, 3]), before=3)
    assert text.mask is not None
    assert text.mask.tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]
    assert text.positions is not None
    assert text.positions.tolist() == [[3, 4], [0, 1]]


def test_nothing_stays_behind_and_no_gradient_is_kept() -> None:
    adapted = make_mplus(config=replace(CONFIG, adapters=ADAPTERS)).core.backbone
    modules = list(adapted.decoder.modules())
    hooks = [(len(one._forward_hooks), len(one._forward_pre_hooks)) for one in modules]
    found = layer_states(adapted, IDS, (0, 2, 4), whole=True)
    assert [(len(one._forward_hooks), len(one._forward_pre_hooks)) for one in modules] == hooks
    plain = layer_states(Backbone(make_model()), IDS, (0, 2, 4), whole=True)
    assert all(found.at[place].equal(plain.at[place]) for place in (0, 2, 4))
    assert not found.at[4].requires_grad


def test_another_threads_pass_is_not_seen() -> None:
    backbone = Backbone(make_model())
    other = some_ids(1, 4, seed=9)

    def elsewhere(module: object, args: object) -> None:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=lambda: backbone.decoder(input_ids=other))
            thread.start()
            thread.join()

    backbone.layers[1].module.register_forward_pre_hook(elsewhere)
    assert layer_states(backbone, IDS, (1, 3)).at[3].shape == (2, 9, 32)
