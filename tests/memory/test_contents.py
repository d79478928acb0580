"""What a write does to a memory's rows, and what is refused before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids

from memplus.config import CounterEviction, OldestEviction
from memplus.errors import BudgetError, ConfigError, UsageError
from memplus.memory.records import RowBytes, WriteRecord

ROW = RowBytes(short_term=10, long_term=7, recent=4)


def test_the_same_seed_drops_the_same_rows_and_another_seed_others() -> None:
    model = make_mplus()
    births = []
    for seed in (3, 3, 4):
        memory = model.new_memory(seed=seed)
        model.write(memory, some_ids(100).tolist())
        assert memory.pool is not None
        births.append(memory.pool.birth.clone())
    assert torch.equal(births[0], births[1])
    assert not torch.equal(births[0], births[2])


@pytest.mark.parametrize("shared", [True, False])
def test_layers_draw_for_themselves_unless_they_share(shared: bool) -> None:
    drop = "shared" if shared else "per_layer"
    model = make_mplus(config=replace(CONFIG, drop=drop))
    memory = model.new_memory()
    model.write(memory, some_ids(100).tolist())
    assert memory.pool is not None
    births = memory.pool.birth
    assert bool((births == births[:1]).all()) == shared


@pytest.mark.parametrize(
    "drop",
    [
        torch.zeros(6, dtype=torch.int64),
        torch.zeros((2, 5), dtype=torch.int64),
        torch.arange(6)[None] + 20,
        torch.tensor([[0, 0, 1, 2, 3, 4]]),
    ],
    ids=["one dimension", "too few", "out of range", "twice"],
)
def test_drops_that_do_not_fit_leave_the_memory_as_it_was(drop: torch.Tensor) -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(40).tolist())
    before = (memory.version, memory.tokens, memory.nbytes)
    with pytest.raises(UsageError, match="drop"):
        model.write_chunk(memory, some_ids(10), drop)
    assert (memory.version, memory.tokens, memory.nbytes) == before


@pytest.mark.parametrize(
    ("rule", "stored"),
    [(CONFIG.eviction, 36), (OldestEviction(max_rows=20), 20), (CounterEviction(1, 4.0), 24)],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_budget_counts_what_writes_will_leave(rule: object, stored: int) -> None:
    """Ten writes of 6 rows into 24 slots: 36 rows are dropped, and a rule may evict some."""
    memory = make_mplus(config=replace(CONFIG, eviction=rule)).new_memory()
    needed = 24 * ROW.short_term + stored * ROW.long_term + 6 * ROW.recent
    memory.max_bytes = needed
    memory.check_budget(10, ROW)
    memory.max_bytes = needed - 1
    with pytest.raises(BudgetError, match=f"{needed:,} bytes"):
        memory.check_budget(10, ROW)


def test_packing_shrinks_what_is_there_and_what_comes() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(100).tolist())
    twin = memory.fork()
    memory.pack()
    assert memory.nbytes < twin.nbytes
    for one in (memory, twin):
        model.write(one, some_ids(100, seed=1).tolist())
    assert memory.long_term_rows == twin.long_term_rows
    assert memory.long_term is not None
    assert memory.long_term.tables[0]["k"].dtype == torch.int8


@pytest.mark.parametrize("most", [1e9, -1, True, "1 GB", 1 << 63])
def test_a_limit_that_is_no_number_of_bytes_is_refused(most: Any) -> None:
    memory = make_mplus().new_memory(max_bytes=10**9)
    with pytest.raises(ConfigError, match="max_bytes"):
        memory.max_bytes = most
    assert memory.max_bytes == memory.fork().max_bytes == 10**9


def test_tokens_are_counted_whole_where_another_thread_writes_meanwhile() -> None:
    memory = make_mplus().new_memory()

    class Growing(list[WriteRecord]):
        """Gets another record whenever its end has been reached."""

        def __iter__(self) -> Iterator[WriteRecord]:
            yield from list.__iter__(self)
            self.append(WriteRecord(len(self) + 1, "", 0, 7))

    memory.writes = Growing([WriteRecord(1, "", 0, 7)])
    for _ in range(3):
        assert memory.tokens % 7 == 0
    memory.writes.append(WriteRecord(len(memory.writes) + 1, "", 0, 7))
    there = len(memory.writes)
    assert memory.tokens == 7 * there
