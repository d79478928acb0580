"""What short writes computed again from forgotten text goes with it, wherever the rows lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.passes.test_span_queries import SPANS
from tests.store.fakes import SMALL

from memplus import Memory
from memplus.memory.computed_again import ComputedAgain
from memplus.store import MemoryStore, StoredMemory

KINDS = {
    "single": ("llama", CONFIG),
    "single, hidden vectors": ("gpt_neox", CONFIG),
    "single, no store": ("llama", replace(CONFIG, retrieved_tokens=0)),
    "spans": ("llama", SPANS),
    "spans, of some layers": ("qwen2", replace(SPANS, long_term_layers="1-2")),
}
LENGTHS = (5, 3, 2, 1, 10, 3, 10)
"""Tokens of the write that is forgotten and those behind it; a whole chunk ends its reach."""


def vectors(memory: Memory) -> set[bytes]:
    """Every row of every layer that the memory holds, and its newest hidden vectors."""
    assert memory.pool is not None
    pool = memory.pool
    slots = pool.slot_order()[:, : pool.count]
    rows = pool.rows_at(slots)
    columns = [rows[name] for name in pool.columns]
    if memory.long_term is not None:
        for table in memory.long_term.tables:
            names = set(table.names) - {"birth", "write_id", "counter"}
            columns += [table[name][None] for name in names if len(table)]
    columns.append(pool.recent)
    return {
        row.contiguous().view(torch.uint8).numpy().tobytes()
        for column in columns
        for layer in column
        for row in layer
    }


def rows_of(memory: Memory, births: range) -> set[bytes]:
    """Those of some births, in the pool: of a memory that has just been written to."""
    assert memory.pool is not None
    pool, found = memory.pool, set()
    for layer in range(pool.layers):
        for birth in births:
            slots = torch.nonzero(pool.birth[layer] == birth).flatten()
            for column in pool.columns.values():
                for slot in slots:
                    row = column[layer % len(column), slot]
                    found.add(row.contiguous().view(torch.uint8).numpy().tobytes())
    back = memory.clock - births[0], memory.clock - births[-1]
    if births and back[0] < pool.recent.shape[1]:
        kept = pool.recent.shape[1]
        for row in pool.recent[:, kept - 1 - back[0] : kept - back[1]].flatten(0, 1):
            found.add(row.contiguous().view(torch.uint8).numpy().tobytes())
    return found


@pytest.mark.parametrize("stored", [False, True], ids=["plain", "stored"])
@pytest.mark.parametrize("before", [0, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_was_computed_again_from_what_is_forgotten_stays(
    kind: str, before: int, stored: bool, tmp_path: Path
) -> None:
    name, config = KINDS[kind]
    model = make_mplus(name, config)
    if stored:
        memory: Memory = MemoryStore(tmp_path, limits=SMALL).create("alice", model)
    else:
        memory = model.new_memory()
    again: set[bytes] = set()
    own: set[bytes] = set()
    sizes = [config.chunk_tokens] * before + list(LENGTHS)
    gone, reached = before + 1, False
    for number, tokens in enumerate(sizes, start=1):
        clock = memory.clock
        ids = some_ids(min(tokens, config.chunk_tokens), seed=number).tolist()
        model.write(memory, ids, source=f"s{number}", flush=True)
        first = max(clock + 1, memory.clock - len(ids) + 1)
        if number == gone:
            again |= rows_of(memory, range(clock + 1, memory.clock + 1))
            reached = True
        elif reached and first > clock + 1:
            again |= rows_of(memory, range(clock + 1, first))
            own |= rows_of(memory, range(first, memory.clock + 1))
        elif reached:
            reached = False
    kept = own & vectors(memory)
    assert again & vectors(memory)
    assert kept
    memory.forget(source=f"s{gone}")
    assert not again & vectors(memory)
    if config.retrieves_spans:  # which lose no row of another text
        lost = kept - vectors(memory)
        recent = {one for one in lost if len(one) == 4 * model.config.hidden_size}
        assert lost <= recent
    if isinstance(memory, StoredMemory):
        memory.close()
        memory = MemoryStore(tmp_path, limits=SMALL).open("alice", model, write=True)
        assert not again & vectors(memory)
    # It goes on as a memory does.
    model.write(memory, some_ids(3, seed=99).tolist(), source="later", flush=True)
    with torch.no_grad():
        assert model(some_ids(1, 4), memory=memory).logits.isfinite().all()


def test_rows_of_a_span_are_taken_over_in_turns_and_those_of_other_spans_stay() -> None:
    table = torch.tensor([0, 0, 3]), torch.tensor([0, 0, 8])
    again = ComputedAgain(torch.tensor([0, 0, 8]), *table, span=4)
    write_id = torch.tensor([1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2])
    birth = torch.arange(1, 13)
    expected = [0, 1, 2, 3, 7, 7, 7, 7, 8, 9, 10, 11]
    assert again.sources(write_id, birth).tolist() == expected
    unknown = ComputedAgain(again.first, again.count, torch.zeros_like(again.ends), span=4)
    expected[8:] = [11] * 4
    assert unknown.sources(write_id, birth).tolist() == expected
    came_with_the_model = torch.zeros(2, dtype=torch.int64), torch.tensor([-7, 0])
    assert again.among(*came_with_the_model).tolist() == [False, False]
    assert again.among(write_id, birth).tolist() == [False] * 4 + [True] * 3 + [False] * 5
    two = ComputedAgain(again.first, torch.tensor([0, 0, 2]), again.ends, span=4)
    assert two.sources(write_id, birth).tolist()[4:8] == [6, 7, 6, 7]
