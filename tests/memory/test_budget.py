"""A limit of bytes holds, and refuses no write that would have kept it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.passes.test_span_queries import SPANS

from memplus.config import CounterEviction, NoEviction, OldestEviction
from memplus.errors import BudgetError
from memplus.memory.budget import most_rows

RULES = {
    "none": {"eviction": NoEviction()},
    "oldest": {"eviction": OldestEviction(max_rows=20)},
    "counter": {"eviction": CounterEviction(every=2, initial=3.0, decay=1.0)},
    "each dies before it counts": {"eviction": CounterEviction(1, 1.0), "retrieved_tokens": 60},
    "none dies": {"eviction": CounterEviction(every=1, decay=0.0)},
    "tiled": {"first_write": "tile"},
    "tiled, counter": {"first_write": "tile", "eviction": CounterEviction(1, 3.0)},
}


@pytest.mark.parametrize("changes", RULES.values(), ids=RULES.keys())
def test_rows_are_told_exactly(changes: dict[str, Any]) -> None:
    config = replace(CONFIG, **changes)
    model = make_mplus(config=config)
    memory = model.new_memory()
    size = config.chunk_tokens
    for writes in (1, 2, 5, 9):
        told = most_rows(config, memory.short_term_rows, memory.long_term, writes)
        found = [memory.long_term_rows]
        for seed in range(writes):
            model.write(memory, some_ids(size, seed=seed).tolist())
            found.append(memory.long_term_rows)
        assert told == max(found)


@pytest.mark.parametrize("changes", RULES.values(), ids=RULES.keys())
def test_a_limit_holds_to_the_byte(changes: dict[str, Any]) -> None:
    model = make_mplus(config=replace(CONFIG, **changes))
    free = model.new_memory()
    tokens = some_ids(240).tolist()
    most = 0
    for start in range(0, 240, CONFIG.chunk_tokens):
        model.write(free, tokens[start : start + CONFIG.chunk_tokens])
        most = max(most, free.nbytes)
    model.write(model.new_memory(max_bytes=most), tokens)
    with pytest.raises(BudgetError):
        model.write(model.new_memory(max_bytes=most - 1), tokens)


def test_a_layer_that_lost_fewer_rows_counts_for_itself() -> None:
    rule = CounterEviction(every=2, initial=3.0, decay=1.0)
    model = make_mplus(config=replace(CONFIG, eviction=rule))
    memory = model.new_memory()
    for seed in range(9):
        model.write(memory, some_ids(CONFIG.chunk_tokens, seed=seed).tolist(), source=str(seed))
    memory.forget(write=[3, 4, 5])
    told = most_rows(memory.config, memory.short_term_rows, memory.long_term, 1)
    before = memory.long_term_rows
    model.write(memory, some_ids(CONFIG.chunk_tokens, seed=20).tolist(), source="9")
    assert told == max(before, memory.long_term_rows)


def test_nothing_is_counted_where_nothing_is_kept() -> None:
    assert most_rows(replace(SPANS, retrieved_tokens=0), 0, None, 50) == 0
