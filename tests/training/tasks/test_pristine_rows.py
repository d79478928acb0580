"""The memory that a trained model comes with: what is in it, and when there is too little text."""

from __future__ import annotations

import pytest
import torch
from tests.training.conftest import SMALL

from memplus.mplus.model import MPlus
from memplus.training.tasks.pristine_rows import written_pristine


def test_the_pristine_memory_is_full_and_ends_with_the_last_chunk(model: MPlus) -> None:
    ids = [2 + (7 * i) % 500 for i in range(32 * 5 + 3)]
    pristine = written_pristine(model, ids)
    assert pristine.short_term is not None
    assert pristine.ages is not None
    assert tuple(pristine.short_term.shape) == (2, SMALL.memory.short_term_tokens, 32)
    new = SMALL.memory.tokens_per_write
    assert pristine.ages[:, -new:].tolist() == [list(range(new - 1, -1, -1))] * 2
    assert (pristine.ages.diff(dim=1) < 0).all()
    model.pristine = pristine
    assert model.new_memory().short_term_rows == SMALL.memory.short_term_tokens


def test_a_pristine_store_holds_what_was_dropped_last(model: MPlus) -> None:
    ids = [2 + (7 * i) % 500 for i in range(32 * 6)]
    model.pristine = written_pristine(model, ids, stored=40)
    for layer, rows in enumerate(model.pristine.long_term):
        assert tuple(rows.shape) == (40, 32)
        keys = model.weights.layer_retriever(layer).key_proj(
            model.backbone.layers[layer].norm(rows)
        )
        torch.testing.assert_close(model.pristine.keys[layer], keys)
        assert (model.pristine.long_term_ages[layer] >= SMALL.memory.tokens_per_write).all()
    memory = model.new_memory()
    assert memory.long_term is not None
    assert model.core.prefix_length(memory) == 1 + 8 + SMALL.memory.short_term_tokens


def test_too_little_text_for_the_pristine_memory_is_refused(model: MPlus) -> None:
    with pytest.raises(ValueError, match="fill 32 of 48"):
        written_pristine(model, [5] * 40)
