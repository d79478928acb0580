"""A memory as lists of rows, and what a write does to it. Nothing here is changed in place.

Shapes: L layers, d hidden size, R retriever width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from tests.reference.config import ReferenceConfig
from torch import Tensor

# A row whose counter is at or below this leaves the store.
SPENT = 0.01


@dataclass(frozen=True)
class Row:
    """One memory row of one layer."""

    hidden: Tensor
    """[d]."""
    age: int
    """Tokens since it was made."""
    key: Tensor | None = None
    """[R] as computed when the row was dropped; None in the short-term pool."""
    counter: float = 0.0

    @property
    def stored_key(self) -> Tensor:
        """[R] of a row that was dropped."""
        assert self.key is not None
        return self.key


Layers = list[list[Row]]


@dataclass(frozen=True)
class State:
    """Rows per layer, oldest first in the pool, in the order of dropping in the others."""

    short: Layers
    long: Layers
    waiting: Layers
    """Dropped rows that are not merged yet (counter eviction)."""
    writes_since_merge: int = 0
    tiled: bool = field(default=False)
    """Uninitialised: no read sees a memory before the first write fills the pool."""

    def stored(self, layer: int) -> list[Row]:
        """What a read can retrieve: the store, then the rows that wait."""
        return self.long[layer] + self.waiting[layer]

    def short_hidden(self, layer: int) -> Tensor:
        """[n, d] of the pool."""
        return torch.stack([row.hidden for row in self.short[layer]])


def empty_state(config: ReferenceConfig) -> State:
    """No rows at all."""

    def nothing() -> Layers:
        return [[] for _ in range(config.layers)]

    return State(nothing(), nothing(), nothing(), tiled=config.tiled)


def written(
    config: ReferenceConfig,
    state: State,
    delta: Tensor,
    drop: Sequence[Sequence[int]],
    key_of: Callable[[int, Tensor], Tensor],
) -> State:
    """The state after one write.

    Args:
        config: sizes and the eviction rule.
        state: before it.
        delta: [L, k, d] the new rows.
        drop: positions in the pool that each layer gives up; positions kept when it is tiled
            or grows: none.
        key_of: (layer, hidden [d]) -> [R] f_k of a dropped row.
    """
    if state.tiled:
        return _tiled(config, state, delta)
    count = delta.shape[1]
    after = State([], [], [], state.writes_since_merge + 1)
    for layer in range(config.layers):
        pool = [replace(row, age=row.age + count) for row in state.short[layer]]
        fresh = [Row(delta[layer, i], age=count - 1 - i) for i in range(count)]
        dropped = [pool[i] for i in sorted(drop[layer])]
        after.short.append([row for i, row in enumerate(pool) if i not in drop[layer]] + fresh)
        after.long.append([replace(row, age=row.age + count) for row in state.long[layer]])
        waiting = [replace(row, age=row.age + count) for row in state.waiting[layer]]
        if config.M:
            waiting += [replace(row, key=key_of(layer, row.hidden)) for row in dropped]
        after.waiting.append(waiting)
    return _evicted(config, after)


def _tiled(config: ReferenceConfig, state: State, delta: Tensor) -> State:
    """The first write of an uninitialised pool: repeat the new rows, remainder from the last."""
    count = delta.shape[1]
    indices = list(range(count)) * (config.N // count)
    rest = config.N - len(indices)
    indices += list(range(count - rest, count))
    short = [
        [Row(delta[layer, i], age=count - 1 - i) for i in indices] for layer in range(config.layers)
    ]
    return replace(state, short=short, tiled=False)


def _evicted(config: ReferenceConfig, state: State) -> State:
    if config.eviction == "counter":
        if state.writes_since_merge < config.merge_every:
            return state
        merged = [_merged(config, state, layer) for layer in range(config.layers)]
        return State(state.short, merged, [[] for _ in merged])
    joined = [state.stored(layer) for layer in range(config.layers)]
    if config.eviction == "oldest":
        joined = [_without_oldest(config, rows) for rows in joined]
    return State(state.short, joined, [[] for _ in joined])


def _merged(config: ReferenceConfig, state: State, layer: int) -> list[Row]:
    new = [replace(row, counter=config.first_counter) for row in state.waiting[layer]]
    before = state.long[layer] + new
    decayed = [replace(row, counter=row.counter - config.decay) for row in before]
    alive = [row for row in decayed if row.counter > SPENT]
    return alive if len(alive) > config.M else before


def _without_oldest(config: ReferenceConfig, rows: list[Row]) -> list[Row]:
    excess = max(0, len(rows) - config.max_rows)
    by_age = sorted(range(len(rows)), key=lambda i: (-rows[i].age, i))
    gone = set(by_age[:excess])
    return [row for i, row in enumerate(rows) if i not in gone]
