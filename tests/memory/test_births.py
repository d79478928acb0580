"""Births of a write's rows, against an account kept while writing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.passes.test_span_queries import SPANS

from memplus import Memory, MPlus
from memplus.config import MemoryConfig
from memplus.memory.births import WriteBirths, computed_again

LENGTHS = (3, 2, 8, 1, 8, 8, 5, 8)


def written(config: MemoryConfig) -> tuple[MPlus, Memory, list[tuple[int, int]]]:
    """A memory, and of each write its rows and the birth of the newest."""
    model = make_mplus(config=config)
    memory, account = model.new_memory(), []
    for number, tokens in enumerate(LENGTHS):
        clock = memory.clock
        model.write(memory, some_ids(tokens, seed=number).tolist(), flush=True)
        account.append((memory.clock - clock, memory.clock))
    return model, memory, account


@pytest.mark.parametrize("config", [CONFIG, SPANS, replace(CONFIG, retrieved_tokens=0)])
def test_births_are_counted_from_both_ends_and_looked_up_between(config: MemoryConfig) -> None:
    _, memory, account = written(config)
    births = WriteBirths(memory)
    assert births.rows == [rows for rows, _ in account]
    assert [births.newest(number) for number in range(1, 9)] == [at for _, at in account]
    assert births.counted_from == 0
    memory.forget(write=[3, 5])
    births = WriteBirths(memory)
    for number in (1, 2, 6, 7, 8):
        assert births.newest(number) == account[number - 1][1]
    assert births.counted_from == account[4][1]
    known = births.newest(4)
    assert known in (None, account[3][1])
    assert births.newest_at_most(4) >= account[3][1]


def test_a_first_write_without_rows_before_it_leaves_as_many_as_it_has_tokens() -> None:
    memory = written(CONFIG)[1]
    assert WriteBirths(memory).rows[:2] == [3, 5]


def test_a_full_write_ends_what_a_forgotten_one_reaches() -> None:
    memory = written(SPANS)[1]
    again = computed_again(memory, [1], WriteBirths(memory))
    assert again is not None
    assert again.count.tolist() == [0, 0, 2, *[0] * 6]
    assert again.ends.tolist()[2] == 8
    again = computed_again(memory, {3, 6}, WriteBirths(memory))
    assert again is not None
    assert again.count.nonzero().flatten().tolist() == [4, 7]
    assert computed_again(memory, [4], WriteBirths(memory)) is None
    assert computed_again(memory, [], WriteBirths(memory)) is None
