"""The short-term pool against plain Python lists: order, ages, write ids."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from memplus.memory.short_term import (
    ShortTermPool,
    draw_dropped,
    draw_survivors,
    stack_like,
    whole_spans,
)

LAYERS = 2
Rows = list[list[tuple[int, int, int]]]
"""Per layer, oldest row first: (value, birth, write id)."""


class PoolMachine(RuleBasedStateMachine):
    """Every step is done by the pool and by lists; forks go on beside their origin."""

    pairs: list[tuple[ShortTermPool, Rows]]

    @initialize(slots=st.integers(1, 9))
    def start(self, slots: int) -> None:
        columns = stack_like({"value": torch.zeros(LAYERS, 1, 2)}, slots)
        pool = ShortTermPool(columns, torch.zeros(LAYERS, 0, 2), 0)
        self.pairs = [(pool, [[] for _ in range(LAYERS)])]
        self.clock = self.writes = 0

    @rule(data=st.data())
    def write(self, data: Any) -> None:
        pool, rows = data.draw(st.sampled_from(self.pairs))
        new = data.draw(st.integers(1, pool.slots))
        count = pool.dropped_by(new)
        assert count == max(0, len(rows[0]) + new - pool.slots)
        order = st.permutations(range(len(rows[0])))
        drops = [data.draw(order)[:count] for _ in range(LAYERS)]
        self.clock += new
        self.writes += 1
        births = torch.arange(self.clock - new + 1, self.clock + 1)
        values = torch.stack([births * 10 + layer for layer in range(LAYERS)]).float()
        column = values[..., None].expand(LAYERS, new, 2)
        recent = torch.zeros(LAYERS, 0, 2)
        drop = torch.tensor(drops) if count else None

        dropped = pool.replace({"value": column}, recent, births, self.writes, drop)

        for layer in range(LAYERS):
            gone = [rows[layer][i] for i in sorted(drops[layer])]
            rows[layer] = [row for row in rows[layer] if row not in gone]
            rows[layer] += [(int(b) * 10 + layer, int(b), self.writes) for b in births]
            if count:
                assert dropped is not None
                assert self.listed(dropped, layer) == gone
        assert (dropped is None) == (count == 0)

    @rule(data=st.data())
    def fork(self, data: Any) -> None:
        pool, rows = data.draw(st.sampled_from(self.pairs))
        if len(self.pairs) < 4:
            self.pairs.append((pool.fork(), copy.deepcopy(rows)))

    @staticmethod
    def listed(rows: dict[str, torch.Tensor], layer: int) -> list[tuple[int, int, int]]:
        value = rows["value"][layer, :, 0].long().tolist()
        birth, write_id = rows["birth"][layer].tolist(), rows["write_id"][layer].tolist()
        return list(zip(value, birth, write_id, strict=True))

    @invariant()
    def agree(self) -> None:
        for pool, rows in getattr(self, "pairs", []):
            assert pool.count == len(rows[0])
            ordered = pool.rows_at(pool.slot_order()[:, : pool.count])
            for layer in range(LAYERS):
                assert self.listed(ordered, layer) == rows[layer]
                assert sorted(pool.position[layer].tolist()) == list(range(pool.slots))
                used = pool.position[layer, : pool.count].tolist()
                assert sorted(used) == list(range(pool.count))


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)


@pytest.mark.parametrize("shared", [False, True])
def test_every_row_is_as_likely_to_be_dropped(shared: bool) -> None:
    generator, counts = torch.Generator().manual_seed(0), torch.zeros(LAYERS, 10)
    for _ in range(2000):
        drop = draw_dropped(10, 3, LAYERS, generator, shared=shared)
        assert drop.shape == (LAYERS, 3)
        assert all(len(set(row)) == 3 for row in drop.tolist())
        assert bool((drop[0] == drop[1]).all()) or not shared
        counts.scatter_add_(1, drop, torch.ones(drop.shape))
    assert torch.allclose(counts / 2000, torch.full_like(counts, 0.3), atol=0.04)


def test_survivors_of_many_writes_are_close_to_those_of_single_drops() -> None:
    """The chance of each age, from one draw and from the writes one after another.

    The oldest three writes differ: they filled the pool, and nothing was dropped meanwhile.
    """
    new, slots, writes, rounds = 2, 6, 6, 4000
    generator = torch.Generator().manual_seed(0)
    at_once = draw_survivors((1, rounds, new * writes), new, slots, generator)[0]
    assert (at_once.diff(dim=1) > 0).all()
    assert at_once.shape == (rounds, slots)
    counts = torch.zeros(2, new * writes)
    counts[0] = torch.bincount(at_once.flatten(), minlength=new * writes)
    for _ in range(rounds):
        held = torch.arange(0)
        for write in range(writes):
            excess = max(0, len(held) + new - slots)
            kept = torch.ones(len(held), dtype=torch.bool)
            kept[draw_dropped(len(held), excess, 1, generator, shared=False)[0]] = False
            held = torch.cat([held[kept], new * write + torch.arange(new)])
        counts[1] += torch.bincount(held, minlength=new * writes)
    shares = counts.view(2, writes, new).sum(dim=2) / (new * rounds)
    assert shares[0, -1] == shares[1, -1] == 1
    assert (shares[0].diff() > 0.05).all()
    assert torch.allclose(shares[0, -2:], shares[1, -2:], atol=0.02), shares
    assert torch.allclose(shares[0], shares[1], atol=0.12), shares


def test_spans_are_dropped_whole_and_in_every_layer():
    drop = draw_dropped(12, 6, 3, torch.Generator().manual_seed(1), shared=True, span=3)
    assert drop.shape == (3, 6)
    assert (drop == drop[0]).all()
    for span in drop[0].view(2, 3).tolist():
        assert span == [span[0], span[0] + 1, span[0] + 2]
        assert span[0] % 3 == 0


def test_spans_survive_whole_and_the_newest_write_stays():
    kept = draw_survivors((2, 4, 24), 6, 12, torch.Generator().manual_seed(1), span=3)
    assert kept.shape == (2, 4, 12)
    assert (kept[0] == kept[1]).all()
    for pool in kept[0]:
        assert pool[-6:].tolist() == list(range(18, 24))
        assert all(span % 3 == 0 for span in pool.view(4, 3)[:, 0].tolist())
        assert (pool.view(4, 3).diff(dim=1) == 1).all()


def test_a_column_of_one_layer_follows_rows_that_all_layers_drop_alike():
    def rows(first: int) -> dict[str, torch.Tensor]:
        names = torch.arange(first, first + 2.0).expand(3, 2)
        return {"k": names[..., None].clone(), "key": names[:1, :, None].clone()}

    pool = ShortTermPool(stack_like(rows(0), 4), torch.zeros(3, 0, 5), 0)
    assert (pool.layers, pool.slots) == (3, 4)
    recent = torch.zeros(3, 2, 5)
    for write, drop in ((1, None), (2, None), (3, [[2, 1]] * 3), (4, [[0, 3]] * 3)):
        birth = torch.arange(2 * write - 1, 2 * write + 1)
        places = None if drop is None else torch.tensor(drop)
        dropped = pool.replace(rows(10 * write), recent, birth, write, places)
        if dropped is not None:
            assert torch.equal(dropped["k"][:1], dropped["key"])
        assert torch.equal(pool.columns["k"][:1], pool.columns["key"])
    pool.forget(torch.tensor([3], dtype=torch.int32), torch.tensor([True, False]))
    assert pool.recent.shape[1] == 1
    assert pool.count == 3
    assert torch.equal(pool.columns["k"][:1], pool.columns["key"])
    twin = ShortTermPool.from_tensors(dict(sorted(pool.tensors().items())), pool.count, pool.slots)
    assert twin.layers == 3


def test_a_pool_that_is_not_full_keeps_its_rows_alone_and_opens_with_all_its_slots():
    rows = {"k": torch.arange(6.0).view(1, 3, 2), "v": torch.arange(3.0).view(1, 3, 1)}
    pool = ShortTermPool(stack_like(rows, 8), torch.ones(1, 0, 2), 0)
    pool.replace(rows, torch.ones(1, 2, 2), torch.arange(1, 4), 1, None)
    kept = pool.tensors()
    assert {name: one.shape[1] for name, one in kept.items()} == {
        "k": 3, "v": 3, "position": 3, "birth": 3, "write_id": 3, "recent": 2,
    }  # fmt: skip
    assert pool.nbytes == sum(one.element_size() * one.numel() for one in kept.values())
    earlier = {"position": pool.position, "birth": pool.birth, "write_id": pool.write_id}
    for tensors in (kept, {**pool.columns, **earlier, "recent": pool.recent}):
        again = ShortTermPool.from_tensors(tensors, pool.count, pool.slots)
        assert (again.count, again.slots) == (3, 8)
        for name in ("position", "birth", "write_id", "recent"):
            assert torch.equal(getattr(again, name), getattr(pool, name))
        for name, column in pool.columns.items():
            assert torch.equal(again.columns[name], column)
        again.replace(rows, torch.ones(1, 2, 2), torch.arange(4, 7), 2, None)
        assert again.write_id[0].tolist() == [1, 1, 1, 2, 2, 2, 0, 0]


@pytest.mark.parametrize(
    ("places", "whole"),
    [([[2, 3]], True), ([[3, 2], [2, 3]], True), ([[1, 2]], False), ([[0, 1, 2]], False),
     ([[0, 1], [2, 3]], False), ([[0, 2]], False), ([[]], True)],
)  # fmt: skip
def test_whole_spans_are_told_from_others(places: list[list[int]], whole: bool):
    assert whole_spans(torch.tensor(places, dtype=torch.int64), 2) == whole


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("span", [1, 2])
def test_a_seed_draws_the_same_rows_whatever_the_default_dtype(
    dtype: torch.dtype, span: int
) -> None:
    def drawn() -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        dropped = draw_dropped(64, 16, LAYERS, generator, shared=False, span=span)
        return dropped, draw_survivors((LAYERS, 1, 64), 8, 32, generator, span)

    usual = drawn()
    torch.set_default_dtype(dtype)
    try:
        found = drawn()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found[0], usual[0])
    assert torch.equal(found[1], usual[1])
