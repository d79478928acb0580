"""Where retrieved rows stand."""

from __future__ import annotations

from dataclasses import replace

import torch
from tests.fakes import LLAMA3_ROPE, some_ids
from tests.systems.memlong.slow import OPTIONS, rotated, tiny
from tests.systems.memlong.test_mechanism import told

from memplus.systems.memlong.mechanism import MemLong
from memplus.systems.memlong.reading import Reading

YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}


@torch.no_grad()
def reading_of(mechanism: MemLong, tokens: int = 24) -> Reading:
    state, ids = told(mechanism, tokens), some_ids(1, 9, seed=3)
    reading = mechanism._reading(state, ids, [(0, 9)], None)
    mechanism._pass(reading, ids, *mechanism._layout(state, ids, None))
    return reading


def placed(mechanism: MemLong, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as kept, and as the layer meets them: [P, G, D]."""
    reading = reading_of(mechanism)
    assert reading.found is not None
    segment = reading._segment(mechanism.backbone.layers[layer], reading.found)
    return reading.found.keys[0].transpose(0, 1), segment.key[0].transpose(0, 1)


def test_together_they_are_not_turned_at_all() -> None:
    kept, met = placed(tiny(), 3)
    assert met.equal(kept)


def test_a_decoder_that_scales_its_positions_scales_them_too() -> None:
    mechanism = tiny(changes={"rope_parameters": YARN, "max_position_embeddings": 256})
    kept, met = placed(mechanism, 3)
    expected = rotated(kept, torch.zeros(len(kept), dtype=torch.int64), mechanism.backbone.decoder)
    assert not torch.allclose(met, kept, atol=1e-3)
    assert torch.allclose(met, expected, atol=1e-6)


def test_one_behind_another_they_end_just_before_the_text() -> None:
    options = replace(OPTIONS, positions="continual")
    mechanism = tiny(options=options, changes={"rope_parameters": LLAMA3_ROPE})
    kept, met = placed(mechanism, 3)
    places = torch.arange(-len(kept), 0)
    expected = rotated(kept, places, mechanism.backbone.decoder)
    assert torch.allclose(met, expected, atol=1e-6)
    # A copy is turned: every layer meets the rows as the first one did.
    again, later = placed(mechanism, 1)
    assert again.equal(kept)
    assert later.equal(met)


def test_the_memory_is_looked_through_once_in_a_pass() -> None:
    mechanism = tiny()
    asked: list[int] = []
    state, ids = told(mechanism), some_ids(1, 9, seed=3)
    reading = mechanism._reading(state, ids, [(0, 9)], None)
    find = reading._find

    def counted(hidden: torch.Tensor) -> object:
        asked.append(hidden.shape[1])
        return find(hidden)

    reading._find = counted  # type: ignore[assignment]
    mechanism._pass(reading, ids, *mechanism._layout(state, ids, None))
    assert asked == [9]
