"""Rows of a saved memory against its config, its counters and its model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.store.fakes import CONFIG, LAYERS, WIDTH, FakeHost
from tests.store.test_store import chunks
from torch import Tensor

from memplus.config import CounterEviction
from memplus.errors import CorruptMemoryError
from memplus.memory.bounds import Bounds, example_rows
from memplus.memory.packing import centres_of, named_centres
from memplus.memory.records import NewRows
from memplus.memory.state import Memory

HOST = FakeHost()
LIKE = example_rows(HOST, HOST.new_rows)
PATH = Path("a.memory")


@pytest.fixture
def memory() -> Memory:
    memory = HOST.new_memory(seed=1)
    HOST.write(memory, chunks(0, 9), "a")
    return memory


def bounds(memory: Memory, like: Any = LIKE) -> Bounds:
    return Bounds(PATH, CONFIG, len(memory.writes), memory.clock, rows="exact", like=like)


def pool_of(memory: Memory) -> dict[str, Tensor]:
    assert memory.pool is not None
    return {f"pool.{name}": tensor.clone() for name, tensor in memory.pool.tensors().items()}


def test_an_example_row_tells_every_column() -> None:
    assert LIKE.hidden.shape == (LAYERS, 1, WIDTH)
    assert set(LIKE.columns) == {"k", "v", "key", "hidden"}


@pytest.mark.parametrize("like", [LIKE, None], ids=["with a model", "without"])
def test_a_real_pool_and_real_tables_pass(memory: Memory, like: Any) -> None:
    bounds(memory, like).pool(pool_of(memory), "pool.", memory.short_term_rows)
    assert memory.long_term is not None
    for table in memory.long_term.tables:
        columns = {f"s.{name}": column for name, column in table.columns().items()}
        bounds(memory, like).table(columns, "s.")


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("position", lambda t: t.fill_(0), "pool.position does not name"),
        ("birth", lambda t: t + 1000, "pool.birth holds"),
        ("write_id", lambda t: t + 1000, "pool.write_id holds"),
        ("write_id", lambda t: -t, "pool.write_id holds -"),
        ("recent", lambda t: torch.cat([t, t], dim=1), "pool.recent has more than 4 rows"),
        ("k", lambda t: t.half(), "pool.k has the dtype torch.float16"),
        ("k", lambda t: t[..., :1], "pool.k has the shape"),
        ("hidden", lambda t: t[:, :-1], "pool.hidden has the shape"),
    ],
)
def test_what_a_pool_cannot_hold_is_named(
    memory: Memory, name: str, change: Any, named: str
) -> None:
    tensors = pool_of(memory)
    tensors[f"pool.{name}"] = change(tensors[f"pool.{name}"])
    with pytest.raises(CorruptMemoryError, match=named):
        bounds(memory).pool(tensors, "pool.", memory.short_term_rows)


def test_a_count_that_leaves_rows_out_is_named(memory: Memory) -> None:
    for count, named in ((13, "count is 13, with 12 slots"), (11, r"pool\.write_id holds")):
        with pytest.raises(CorruptMemoryError, match=named):
            bounds(memory).pool(pool_of(memory), "pool.", count)


def test_columns_of_long_term_rows_follow_from_the_rules(memory: Memory) -> None:
    plain = bounds(memory).long_term_columns(LIKE)
    assert set(plain) == {"birth", "write_id", "hidden", "key"}
    config = type(CONFIG)(**{**vars(CONFIG), "eviction": CounterEviction()})
    packed = Bounds(PATH, config, 1, 1, rows="int8", like=LIKE).long_term_columns(LIKE)
    assert set(packed) - set(plain) == {"hidden.scale", "counter"}
    assert packed["hidden"][0] == torch.int8


def test_keys_in_2_bits_need_the_directions_that_they_lie_along() -> None:
    numbers = torch.randn(2, 40, 2, 16, generator=torch.Generator().manual_seed(0))
    like = NewRows(
        torch.zeros(LAYERS, 1, WIDTH), {"k": numbers[:, :1], "v": numbers[:, :1]}, ("k", "v")
    )
    found = named_centres(centres_of({"k": numbers[0], "v": numbers[1]}, "int2"))
    narrow = Bounds(PATH, CONFIG, 3, 50, rows="int2", like=like)
    assert narrow.centres(found, "", 0, 40) == {"k.centre", "k.leading.centre", "v.centre"}
    assert narrow.centres({}, "", 0, 0) == set()
    assert replace(narrow, rows="exact").centres(found, "", 0, 40) == set()
    for gone in found:
        others = {name: one for name, one in found.items() if name != gone}
        with pytest.raises(CorruptMemoryError, match=f"{gone} is missing"):
            narrow.centres(others, "", 0, 40)
    short = found | {"k.leading.centre": found["k.leading.centre"][..., :4]}
    with pytest.raises(CorruptMemoryError, match=r"k\.leading\.centre"):
        narrow.centres(short, "", 0, 40)
    with pytest.raises(CorruptMemoryError, match="of no column"):
        replace(narrow, rows="int4").centres(found, "", 0, 40)
