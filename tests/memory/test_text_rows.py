"""Whose text the newest rows hold, against windows of rows that are kept by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.passes.test_span_queries import SPANS

from memplus import MemoryConfig
from memplus.memory.births import WriteBirths
from memplus.memory.state import Memory
from memplus.memory.text_rows import TextRows

Window = list[tuple[int, int]]
"""Of each of the newest rows, the newest last: whose text it holds, and which write made it."""


def write(memory: Memory, window: Window, tokens: int, *, older: bool) -> None:
    """One short chunk, and what it leaves by the rules of a write.

    Args:
        memory: to write to.
        window: goes on.
        tokens: of the chunk.
        older: whether what these do not fill is older rows, computed again.
    """
    config, before = memory.config, memory.clock
    model = MODELS[config]
    model.write(memory, some_ids(tokens, seed=len(memory.writes)).tolist(), flush=True)
    made, at = memory.clock - before, len(memory.writes)
    own = min(tokens, made)
    if not older:
        own = made
    again = min(made - own, len(window))
    copies = [(held, at) for held, _ in window[len(window) - again :]]
    window += [*copies, *[(0, at)] * (made - own - again), *[(at, at)] * own]
    if config.first_write == "tile" and at == 1:
        window[:] = window * config.tokens_per_write
    del window[: -config.tokens_per_write]


CONFIGS = [CONFIG, SPANS, replace(CONFIG, retrieved_tokens=0, first_write="tile")]
MODELS = {config: make_mplus(config=config) for config in CONFIGS}


def held(memory: Memory, gone: list[int]) -> list[bool]:
    """Which of the newest rows are of some writes, the newest first."""
    births = WriteBirths(memory)
    return births.text.holding(gone, births.fewest, births.most, begun=births.begun)[1]


@pytest.mark.parametrize(
    ("config", "older"),
    [*((config, True) for config in CONFIGS), (SPANS, False)],
    ids=["rows", "spans of older memories", "tiled", "spans"],
)
@pytest.mark.parametrize("seed", range(8))
def test_no_newest_row_of_what_is_forgotten_is_overlooked(
    config: MemoryConfig, older: bool, seed: int
) -> None:
    chance = random.Random(seed)
    memory: Memory = MODELS[config].new_memory()
    window: Window = []
    for round_ in range(4):
        for _ in range(chance.randint(1, 4)):
            tokens = chance.choice([1, 1, 2, 3, 5, config.tokens_per_write])
            write(memory, window, tokens, older=older)
        alive = [one.id for one in memory.writes if one.tokens]
        gone = sorted(chance.sample(alive, min(len(alive), 2)))
        found = held(memory, gone)[: len(window)]
        goes = [whose in gone or by in gone for whose, by in reversed(window)]
        assert all(one for one, is_so in zip(found, goes, strict=True) if is_so)
        if older and not round_:
            assert found == goes
        memory.forget(write=gone)
        window[:] = [one for one, lost in zip(window, found[::-1], strict=True) if not lost]
        assert memory.pool is not None
        assert memory.pool.recent.shape[1] == len(window)


def test_rows_are_counted_back_over_the_texts_that_were_not_forgotten() -> None:
    memory = MODELS[CONFIG].new_memory()
    for tokens in (3, 2, 10, 1, 2):
        MODELS[CONFIG].write(memory, some_ids(tokens).tolist(), flush=True)
    text = TextRows(memory)
    assert text.own == [3, 2, 6, 1, 2]
    assert text.unbroken == [0, 3, 5, 11, 12, 14]
    assert (text.back(3, 6), text.back(2, 6), text.back(2, 3)) == (3, 9, 0)
    rows = [3, 5, 6, 6, 6]
    again, now = text.holding([1], rows, rows, begun=0)
    assert again == {2: [True, True, True]}  # the third write needs none
    assert now == [False] * 6
    again, now = text.holding([3], rows, rows, begun=0)
    assert again == {4: [True] * 5, 5: [False, True, True, True]}
    assert now == [False] * 3 + [True] * 3
    memory.forget(write=4)
    text = TextRows(memory)
    assert text.unbroken == [0, 3, 5, 11, 0, 2]
    again, now = text.holding([2], rows, rows, begun=0)
    assert (again, now) == ({}, [False] * 6)
    again, now = text.holding([3], rows, rows, begun=0)
    assert again == {5: [True] * 4}  # nothing tells when the fourth was forgotten
    assert now == [False, False, True, True, True, True]
