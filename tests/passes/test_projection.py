"""What is kept of a row is what the layer itself would compute of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, HIDDEN, LAYERS, distance, eager_for, make_mplus

from memplus import MPlus
from memplus.backbone.rope import rotate
from memplus.config import MemoryConfig, SpanRetrieval
from memplus.passes.projection import long_term_columns, project_rows, stored_as_hidden


def rows(count: int = 5) -> torch.Tensor:
    return torch.randn(LAYERS, count, HIDDEN, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", ["llama", "llama-bias", "qwen3", "gemma3", "olmo2", "gpt_neox"])
def test_keys_and_values_are_those_of_the_layer_for_the_same_input(name: str) -> None:
    """Caught in the text cache: the layer is given the rows as its input, the cache keeps both."""
    model = make_mplus(name, attention=eager_for(name))
    hidden = rows()
    found = project_rows(model.backbone, model.weights, hidden)
    shape = (LAYERS, 5, model.backbone.kv_heads, model.backbone.head_dim)
    assert found["k"].shape == found["v"].shape == shape
    handles = [
        layer.module.register_forward_pre_hook(
            lambda module, args, layer=layer: (hidden[layer.index][None], *args[1:])
        )
        for layer in model.backbone.layers
    ]
    with torch.no_grad():
        cache: Any = model.backbone.decoder(torch.zeros(1, 5, dtype=torch.long), use_cache=True)
    for handle in handles:
        handle.remove()
    for layer in model.backbone.layers:
        cos, sin = model.backbone.angles(layer, 5, hidden)
        turned = rotate(found["k"][layer.index], (cos, sin)).transpose(0, 1)
        cached = cache.past_key_values.layers[layer.index]
        assert distance(cached.keys[0], turned) <= 2e-5
        assert distance(cached.values[0], found["v"][layer.index].transpose(0, 1)) <= 2e-5


def test_retrieval_keys_are_those_of_the_normed_rows() -> None:
    model = make_mplus()
    hidden = rows()
    found = project_rows(model.backbone, model.weights, hidden)["key"]
    assert found.shape == (LAYERS, 5, CONFIG.retriever_dim)
    for layer in model.backbone.layers:
        projection = model.weights.layer_retriever(layer.index).key_proj
        with torch.no_grad():
            expected = projection(layer.norm(hidden[layer.index]))
        assert distance(found[layer.index], expected) == 0


def test_one_layer_is_projected_as_among_all() -> None:
    model = make_mplus()
    hidden = rows()
    whole = project_rows(model.backbone, model.weights, hidden)
    for layer in range(LAYERS):
        part = project_rows(model.backbone, model.weights, hidden[layer][None], layer=layer)
        assert part.keys() == whole.keys()
        for name, column in part.items():
            assert torch.equal(column[0], whole[name][layer])


@pytest.mark.parametrize(
    ("name", "changes", "wide"),
    [
        ("llama", {}, False),
        ("llama", {"num_key_value_heads": 4}, True),
        ("gpt_neox", {}, True),
        ("llama-wide-heads", {}, True),
    ],
)
def test_hidden_vectors_are_kept_where_they_are_the_smaller(
    name: str, changes: dict[str, Any], wide: bool
) -> None:
    model = make_mplus(name, changes=changes)
    assert stored_as_hidden(model.backbone) is wide
    columns = long_term_columns(model.backbone)
    assert columns == (("hidden", "key") if wide else ("k", "v", "key"))
    hidden = rows()
    found = project_rows(model.backbone, model.weights, hidden)
    assert set(columns) <= found.keys()
    if wide:
        assert torch.equal(found["hidden"], hidden)
        found["hidden"].zero_()
        assert bool(hidden.any())


def adapted() -> MPlus:
    sizes = {field: getattr(CONFIG, field) for field in CONFIG.__dataclass_fields__}
    return make_mplus(config=MemoryConfig(**sizes | {"adapters": ADAPTERS}))


def test_rows_are_projected_under_the_adapter_that_reads_them() -> None:
    model = adapted()
    adapters = model.backbone.adapters
    layer, hidden = model.backbone.layers[1], rows()
    found = project_rows(model.backbone, model.weights, hidden)
    with torch.no_grad(), adapters.active(adapters.reading):
        reading = layer.project(hidden[1])
    with torch.no_grad(), adapters.active(adapters.writing):
        writing = layer.project(hidden[1])
    assert torch.equal(found["k"][1], reading[0])
    assert distance(found["k"][1], writing[0]) > 1e-3


def test_nothing_of_the_graph_is_kept() -> None:
    model = make_mplus()
    found = project_rows(model.backbone, model.weights, rows().requires_grad_())
    assert not any(column.requires_grad for column in found.values())


def test_only_the_layer_that_retrieves_gives_keys() -> None:
    spans = SpanRetrieval(span_rows=2, layer=1)
    model = make_mplus(config=replace(CONFIG, drop="shared", retrieval=spans))
    rows = torch.randn(LAYERS, 3, HIDDEN, generator=torch.Generator().manual_seed(1))
    columns = project_rows(model.backbone, model.weights, rows)
    assert columns["k"].shape[0] == LAYERS
    assert columns["key"].shape == (1, 3, CONFIG.retriever_dim)
    access = model.backbone.layers[1]
    expected = model.weights.layer_retriever(1).keys(access.norm(rows[1]))
    assert torch.equal(columns["key"][0], expected)
    alone = [
        project_rows(model.backbone, model.weights, rows[layer][None], layer=layer)
        for layer in range(LAYERS)
    ]
    assert ["key" in one for one in alone] == [False, True, False, False]
    assert torch.equal(alone[1]["key"], columns["key"])
