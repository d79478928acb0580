"""A stock decoder seen from outside: what it is made of, and what is refused before it runs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIGS, HIDDEN, LAYERS, eager_for, make_model, some_ids
from transformers import BertConfig, GPT2Config, LlamaForSequenceClassification, T5Config

from memplus.backbone.access import Backbone, check_supported
from memplus.backbone.adapters import READ_ADAPTER, WRITE_ADAPTER, add_adapters
from memplus.errors import NotADecoderError, UnsupportedModelError


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_keys_and_values_are_those_of_the_model_itself(name: str) -> None:
    """What a layer projects from its input, against the stock layer's own cache at position 0."""
    model: Any = make_model(name, attention=eager_for(name))
    backbone = Backbone(model)
    inputs: list[torch.Tensor] = []
    handles = [
        layer.module.register_forward_pre_hook(lambda m, args: inputs.append(args[0]))
        for layer in backbone.layers
    ]
    cache = model(some_ids(1, 1), use_cache=True).past_key_values
    for handle in handles:
        handle.remove()
    assert len(inputs) == LAYERS
    for index, layer in enumerate(backbone.layers):
        keys, values = layer.project(inputs[index][0])
        stored = cache.layers[index]
        # At position 0 a rotation by halves turns nothing.
        scale = float(getattr(backbone.decoder.rotary_emb, "attention_scaling", 1.0))
        rotated = int(backbone.angles(layer, 1, keys)[0].shape[-1]) * 2
        keys[..., :rotated] *= scale
        torch.testing.assert_close(keys.transpose(0, 1), stored.keys[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(values.transpose(0, 1), stored.values[0], atol=1e-5, rtol=1e-5)


def test_sizes_are_the_models() -> None:
    backbone = Backbone(make_model("llama-wide-heads", dtype=torch.bfloat16))
    assert (backbone.hidden_size, backbone.head_dim, backbone.kv_heads) == (HIDDEN, 16, 2)
    assert (backbone.device, backbone.dtype) == (torch.device("cpu"), torch.bfloat16)
    assert [layer.index for layer in backbone.layers] == list(range(LAYERS))


def test_layers_without_rotary_positions_have_no_angles() -> None:
    backbone = Backbone(make_model("smollm3"))
    like = torch.zeros(1)
    widths = [backbone.angles(layer, 5, like)[0].shape for layer in backbone.layers]
    assert widths == [(5, 4), (5, 0), (5, 4), (5, 0)]


@pytest.mark.parametrize(
    ("config", "error", "reason"),
    [
        (T5Config(), NotADecoderError, "encoder-decoder"),
        (BertConfig(), NotADecoderError, "encoder"),
        (GPT2Config(), UnsupportedModelError, "supported families are"),
        (None, NotADecoderError, "no causal language model"),
    ],
    ids=["t5", "bert", "gpt2", "nothing"],
)
def test_what_is_no_supported_decoder_is_refused(config: Any, error: Any, reason: str) -> None:
    with pytest.raises(error, match=reason):
        check_supported(config)


def test_a_decoder_without_a_head_is_refused() -> None:
    model = LlamaForSequenceClassification(make_model().config)
    with pytest.raises(NotADecoderError, match="no language-modelling head"):
        Backbone(model)


def test_an_attention_that_takes_no_memory_is_refused_by_name() -> None:
    model: Any = make_model()
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(UnsupportedModelError, match="'flex_attention' cannot take a memory"):
        Backbone(model)


def test_a_capped_family_runs_eagerly_whatever_it_was_loaded_with() -> None:
    backbone = Backbone(make_model("gemma2", attention="eager"))
    assert (backbone.attention_implementation, backbone.stock_attention) == ("eager", "eager")


def test_adapters_of_our_names_are_ours_only_where_the_memory_has_any() -> None:
    model = make_model()
    add_adapters(model, ADAPTERS)
    ours = Backbone(model).adapters
    assert (ours.writing, ours.reading) == (WRITE_ADAPTER, READ_ADAPTER)
    theirs = Backbone(model, adapted=False).adapters
    assert (theirs.writing, theirs.reading) == (None, None)


def test_wrapping_changes_nothing_and_copies_are_free_of_it() -> None:
    model: Any = make_model()
    names = {name: sorted(module.__dict__) for name, module in model.named_modules()}
    backbone = Backbone(model)
    with backbone.lock:
        twin = copy.deepcopy(model)
    assert names == {name: sorted(module.__dict__) for name, module in twin.named_modules()}
    assert Backbone(twin).lock is not backbone.lock
