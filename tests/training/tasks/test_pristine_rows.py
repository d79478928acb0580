"""The memory that a trained model comes with: what is in it, and when there is too little text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.conftest import SENTENCES, SMALL

from memplus.config import CounterEviction
from memplus.mplus.model import MPlus
from memplus.training.tasks.pristine_rows import opening_rows, written_pristine
from memplus.training.text.starting import with_memory

OPENING = "The road went down to the sea."


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


def test_rows_of_a_pristine_store_are_counted_as_when_they_are_merged(
    model: MPlus, tmp_path: Path
) -> None:
    config = replace(model.memory_config, eviction=CounterEviction(initial=7.0))
    counted = with_memory(model, config)
    counted.pristine = written_pristine(counted, [2 + (7 * i) % 500 for i in range(192)], stored=40)
    counted.save_pretrained(tmp_path / "counted")
    for one in (counted, MPlus.from_pretrained(tmp_path / "counted")):
        long_term = one.new_memory().long_term
        assert long_term is not None
        assert [len(rows) for rows in one.pristine.counters] == [40, 40]
        assert all((rows == 7.0).all() for rows in one.pristine.counters)


def test_too_little_text_for_the_pristine_memory_is_refused(model: MPlus) -> None:
    with pytest.raises(ValueError, match="fill 32 of 48"):
        written_pristine(model, [5] * 40)


def test_an_opening_is_what_one_write_leaves_in_an_empty_memory(
    model: MPlus, tmp_path: Path
) -> None:
    written = model.new_memory()
    model.write(written, OPENING, flush=True)
    model.pristine = opening_rows(model, OPENING)
    opened = model.new_memory()
    assert opened.pool is not None
    assert written.pool is not None
    assert 0 < opened.short_term_rows == written.short_term_rows < SMALL.memory.short_term_tokens
    assert torch.equal(opened.pool.recent, written.pool.recent)
    for name, column in written.pool.columns.items():
        assert opened.pool.columns[name].shape == column.shape
        torch.testing.assert_close(opened.pool.columns[name], column)
    births = opened.pool.birth[0, : opened.short_term_rows].tolist()
    assert births == list(range(1 - len(births), 1))
    assert not opened.writes
    model.save_pretrained(tmp_path / "saved")
    again = MPlus.from_pretrained(tmp_path / "saved").new_memory()
    assert again.pool is not None
    assert torch.equal(again.pool.recent, opened.pool.recent)
    assert torch.equal(again.pool.birth, opened.pool.birth)


def test_what_an_opening_left_outlasts_what_is_told_and_forgotten(model: MPlus) -> None:
    model.pristine = opening_rows(model, OPENING)
    memory = model.new_memory()
    begun = memory.short_term_rows
    for _ in range(4):
        model.write(memory, SENTENCES, source="told", flush=True)
    assert memory.short_term_rows == SMALL.memory.short_term_tokens
    assert memory.long_term_rows > begun
    memory.forget(source="told")
    assert memory.short_term_rows + memory.long_term_rows == begun


@pytest.mark.parametrize("text", ["", SENTENCES * 3])
def test_an_opening_has_tokens_and_fits_one_chunk(model: MPlus, text: str) -> None:
    with pytest.raises(ValueError, match="an opening has 1 to 32 tokens"):
        opening_rows(model, text)
