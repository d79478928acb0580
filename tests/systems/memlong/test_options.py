from __future__ import annotations

from typing import Any

import pytest

from memplus.errors import ConfigError
from memplus.systems.memlong.options import MemLongOptions, Places


def test_the_memory_is_read_by_every_other_layer_above_it() -> None:
    assert MemLongOptions().places(30) == Places(18, (18, 20, 22, 24))
    assert MemLongOptions().places(26) == Places(15, (15, 17, 19, 21))
    assert MemLongOptions().places(4) == Places(2, (2,))
    assert MemLongOptions().places(1) == Places(0, (0,))


def test_layers_can_be_named() -> None:
    options = MemLongOptions(memory_layer=2, retrieval_layers=(4, 5))
    assert options.places(6) == Places(2, (4, 5))
    assert MemLongOptions(memory_layer=20).places(26) == Places(20, (20, 22, 24))
    papers = MemLongOptions(memory_layer=13, retrieval_layers=(13, 17, 21, 25))
    assert papers.places(26) == Places(13, (13, 17, 21, 25))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"memory_layer": -2}, "memory_layer"),
        ({"chunk": 0}, "chunk"),
        ({"chunk": 4096}, "chunk.*not be more than a segment"),
        ({"top_k": -1}, "top_k"),
        ({"segment": 0}, "segment"),
        ({"local": 100}, "local"),
        ({"bank": 100}, "bank"),
        ({"rank": 0}, "rank"),
        ({"alpha": 0}, "alpha"),
        ({"retrieval_layers": (5, 3)}, "retrieval_layers"),
        ({"retrieval_layers": (3, 3)}, "retrieval_layers"),
    ],
)
def test_sizes_that_cannot_be_are_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        MemLongOptions(**changes)
