"""Which columns of long-term rows each layer keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from memplus.config import MemoryConfig, SpanRetrieval
from memplus.errors import ConfigError
from memplus.memory.layout import BOOKS, LongTermLayout
from memplus.memory.packing import KEY

ROWS = MemoryConfig(drop="shared")
SPANS = replace(ROWS, retrieval=SpanRetrieval(span_rows=64, layer=1))


def kept(config: MemoryConfig, layers: int = 5) -> dict[str, list[int]]:
    layout = LongTermLayout.of(config, layers)
    names = ("k", "k.scale", KEY, *BOOKS)
    return {name: [at for at in range(layers) if layout.has(name, at)] for name in names}


def test_rows_are_kept_by_every_layer_with_what_tells_of_them() -> None:
    assert all(layers == [0, 1, 2, 3, 4] for layers in kept(ROWS).values())
    some = kept(replace(ROWS, long_term_layers="2-3"))
    assert all(layers == [2, 3] for layers in some.values())


def test_what_tells_of_spans_is_kept_once_beside_their_keys() -> None:
    for layers, rows in ((None, [0, 1, 2, 3, 4]), ("2-3", [2, 3]), ("1-1", [1])):
        found = kept(replace(SPANS, long_term_layers=layers))
        assert found["k"] == found["k.scale"] == rows
        assert {tuple(found[name]) for name in (KEY, *BOOKS)} == {(1,)}


def test_a_layer_has_its_own_part_of_all_columns() -> None:
    layout = LongTermLayout.of(replace(SPANS, long_term_layers="2-3"), 5)
    columns = {"k": torch.arange(5)[:, None], KEY: torch.tensor([[7]]), "birth": torch.zeros(5, 1)}
    of_layer = {at: layout.of_layer(columns, at) for at in range(5)}
    assert [set(one) for one in of_layer.values()] == [set(), {KEY, "birth"}, {"k"}, {"k"}, set()]
    assert int(of_layer[3]["k"]) == 3
    assert int(of_layer[1][KEY]) == 7
    assert [layout.keeps(at) for at in range(5)] == [False, True, True, True, False]


def test_layers_that_a_model_has_not_are_named() -> None:
    with pytest.raises(ConfigError, match="long_term_layers"):
        LongTermLayout.of(replace(SPANS, long_term_layers="3-5"), 5)
    with pytest.raises(ConfigError, match="drop: shared"):
        MemoryConfig(long_term_layers="1-2")
