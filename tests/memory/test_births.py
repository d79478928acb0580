"""Births of a write's rows, against an account kept while writing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.passes.test_span_queries import SPANS

from memplus import Memory, MPlus
from memplus.config import MemoryConfig
from memplus.memory.births import WriteBirths, computed_again
from memplus.passes.pristine import Pristine

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
    assert births.fewest == births.most == [rows for rows, _ in account]
    assert [births.newest(number) for number in range(1, 9)] == [at for _, at in account]
    memory.forget(write=[3, 5])
    births = WriteBirths(memory)
    for number in (1, 2, 7, 8):
        assert births.newest(number) == account[number - 1][1]
    for number in (4, 6):
        first, last = births.newest_within(number)
        assert first <= account[number - 1][1] <= last
        assert births.newest(number) in (None, account[number - 1][1])
        if config.retrieved_tokens:  # all rows are there
            assert first == last


def test_a_first_write_without_rows_before_it_leaves_as_many_as_it_has_tokens() -> None:
    memory = written(CONFIG)[1]
    assert WriteBirths(memory).most[:2] == [3, 5]


def test_a_tiled_first_write_fills_up_the_next_one() -> None:
    config = replace(CONFIG, retrieved_tokens=0, first_write="tile")
    _, memory, account = written(config)
    births = WriteBirths(memory)
    assert births.fewest == births.most == [rows for rows, _ in account]
    assert births.most[:2] == [3, 6]


@pytest.mark.parametrize("forgotten", [(), (3,)])
def test_rows_that_came_with_the_model_fill_up_the_first_write_even_when_they_have_left(
    forgotten: tuple[int, ...],
) -> None:
    model = make_mplus(config=replace(CONFIG, retrieved_tokens=0))
    model.pristine.short_term = torch.randn(4, 24, 32)
    memory = model.new_memory()
    assert WriteBirths(memory).most == []
    for tokens in (2, 6, 6, 6):
        model.write(memory, some_ids(tokens).tolist(), flush=True)
    if forgotten:
        memory.forget(write=forgotten)
    assert memory.pool is not None
    expected = 6, 12
    births = WriteBirths(memory)
    assert (births.newest(1), births.newest(2)) == expected
    memory.pool.write_id[memory.pool.write_id == 0] = 2  # as if no such row were left
    births = WriteBirths(memory)
    for at in (1, 2):
        first, last = births.newest_within(at)
        assert first <= expected[at - 1] <= last
        assert forgotten or first == last


def test_a_write_that_found_too_few_rows_to_fill_up_with_is_found_all_the_same() -> None:
    model = make_mplus(config=CONFIG)
    memory = model.new_memory()
    for tokens in (1, 1):
        model.write(memory, some_ids(tokens).tolist(), flush=True)
    memory.forget(write=2)
    account = []
    for tokens in (1, 1, 2, 6):
        model.write(memory, some_ids(tokens).tolist(), flush=True)
        account.append(memory.clock)
    assert account[:2] == [5, 9]  # two rows, then four, where six are a write's
    births = WriteBirths(memory)
    assert [births.newest(number) for number in (3, 4, 5, 6)] == account
    assert births.fewest[2] < births.most[2] == 6


def test_what_a_forgotten_write_reaches_ends_where_its_rows_do() -> None:
    memory = written(SPANS)[1]
    births = WriteBirths(memory)
    again, _ = computed_again(memory, [1], births)
    assert again is not None
    ids, at = torch.full((4,), 2), torch.arange(5, 9)
    assert again.among(ids, at).tolist() == [True, True, False, False]
    again, _ = computed_again(memory, [3, 6], births)
    assert again is not None
    found = [
        number
        for number in range(1, 9)
        if again.among(torch.full((50,), number), torch.arange(1, 51)).any()
    ]
    assert found == [4, 7]
    assert computed_again(memory, [4], births)[0] is None
    assert computed_again(memory, [], births) == (None, [False] * 8)


@pytest.mark.long
@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, retrieved_tokens=0)])
@pytest.mark.parametrize("begun", [2, 6, 24])
def test_short_writes_fill_up_with_rows_that_came_with_the_model_be_they_few_or_gone(
    config: MemoryConfig, begun: int
) -> None:
    model = make_mplus(config=config)
    layers, width = len(model.backbone.layers), model.backbone.hidden_size
    rows = torch.randn(layers, begun, width, generator=torch.Generator().manual_seed(1))
    model.pristine = Pristine(rows, torch.arange(begun - 1, -1, -1).repeat(layers, 1))
    memory, account = model.new_memory(), []
    for number, tokens in enumerate((1, 2, 1, *[8] * 60)):
        clock = memory.clock
        model.write(memory, some_ids(tokens, seed=number).tolist(), flush=True)
        account.append(memory.clock - clock)
        births = WriteBirths(memory)
        assert births.fewest == births.most == account
        assert births.begun is not None
        assert min(begun, 2) <= births.begun <= begun  # no more are needed to fill up with
    assert memory.pool is not None
    assert bool(memory.pool.write_id[0].all())


def test_after_a_tiled_write_every_one_finds_rows_enough() -> None:
    model = make_mplus(config=replace(CONFIG, retrieved_tokens=0, first_write="tile"))
    memory, account = model.new_memory(), []
    for number, tokens in enumerate((2, 1, 8)):
        clock = memory.clock
        model.write(memory, some_ids(tokens, seed=number).tolist(), flush=True)
        account.append(memory.clock - clock)
    births = WriteBirths(memory)
    assert births.fewest == births.most == account
