"""The long-term memory: rows dropped from the short-term pool, found again by their keys.

Per layer, rows lie in the order in which they were dropped. What leaves, and when, is the
config's eviction rule (M+ section 3.2; the published code's rule is ``CounterEviction``).

Shapes: L layers, n rows of one layer, M retrieved rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from memplus.config import CounterEviction, Eviction, OldestEviction
from memplus.memory.packing import pack, scale_of, unpack
from memplus.memory.retriever import oldest_first, retrieval_scores
from memplus.memory.rows import RowTable

__all__ = ["LongTermPool"]

# A counter at or below this has run out (value of the published code).
_SPENT = 0.01


class LongTermPool:
    """One ``RowTable`` per layer: what a read needs of a row, its key, birth and write id.

    Args:
        tables: one per layer, with the columns of the row format and ``key`` [n, R],
            ``birth`` [n] int64, ``write_id`` [n] int32; ``counter`` [n] under counter eviction.
        eviction: the rule.
        retrieved: M, which the counter rule needs.
        packed: wide columns are kept in 8 bits (``memory.packing``); the tables hold them so.
    """

    def __init__(
        self,
        tables: Sequence[RowTable],
        eviction: Eviction,
        retrieved: int,
        *,
        packed: bool = False,
    ) -> None:
        self.tables = list(tables)
        self.packed = packed
        self.eviction = eviction
        self.retrieved = retrieved
        self.waiting = 0
        """Rows dropped since the last merge, the newest of every layer (counter rule)."""
        self.writes_since_merge = 0

    def __len__(self) -> int:
        """Rows of the fullest layer."""
        return max((len(table) for table in self.tables), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use."""
        return sum(table.nbytes for table in self.tables)

    def fork(self) -> LongTermPool:
        """The same rows, going their own way."""
        tables = [table.fork() for table in self.tables]
        twin = LongTermPool(tables, self.eviction, self.retrieved, packed=self.packed)
        twin.waiting = self.waiting
        twin.writes_since_merge = self.writes_since_merge
        return twin

    def append(self, dropped: Mapping[str, Tensor] | None) -> None:
        """Take the rows that one write dropped (name -> [L, c, ...]), then evict.

        Called once per write, also when nothing was dropped: the counter rule counts writes.
        """
        if dropped is not None:
            if self.packed:
                dropped = pack(dropped, leading=2)
            for layer, table in enumerate(self.tables):
                rows = {name: column[layer] for name, column in dropped.items()}
                if isinstance(self.eviction, CounterEviction):
                    rows["counter"] = torch.full_like(
                        rows["birth"], self.eviction.initial, dtype=torch.float32
                    )
                table.append(rows)
            self.waiting += next(iter(dropped.values())).shape[1]
        self.writes_since_merge += 1
        if isinstance(self.eviction, CounterEviction):
            self._merge(self.eviction)
        elif isinstance(self.eviction, OldestEviction):
            self._evict_oldest(self.eviction.max_rows)

    def forget(self, writes: Tensor) -> int:
        """Take out every row of some writes [w] int32; returns how many went, over all layers."""
        gone = 0
        for table in self.tables:
            mask = ~torch.isin(table["write_id"], writes)
            count = len(mask) - int(mask.sum())
            if count:
                table.keep(mask)
            gone += count
        self.waiting = min(self.waiting, len(self))
        return gone

    def take_back(self, layer: int, rows: Mapping[str, Tensor]) -> None:
        """Add rows [c, ...] that left one layer's short-term pool outside a write."""
        table = self.tables[layer]
        rows = pack(rows) if self.packed else rows
        columns = {name: rows[name] for name in table.names if name in rows}
        if isinstance(self.eviction, CounterEviction):
            columns["counter"] = torch.full_like(
                rows["birth"], self.eviction.initial, dtype=torch.float32
            )
        if len(rows["birth"]):
            table.append(columns)

    def _merge(self, rule: CounterEviction) -> None:
        if self.writes_since_merge < rule.every:
            return
        for table in self.tables:
            counters = table["counter"] - rule.decay
            alive = counters > _SPENT
            if int(alive.sum()) <= self.retrieved:
                continue
            table.replace("counter", counters)
            if not bool(alive.all()):
                table.keep(alive)
        self.waiting = self.writes_since_merge = 0

    def _evict_oldest(self, max_rows: int) -> None:
        for table in self.tables:
            excess = len(table) - max_rows
            if excess > 0:
                # Among equal births the row that was dropped first goes first.
                oldest = table["birth"].sort(stable=True).indices[:excess]
                mask = torch.ones(len(table), dtype=torch.bool, device=oldest.device)
                mask[oldest] = False
                table.keep(mask)

    def retrieve(self, layer: int, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of one layer that a prompt retrieves (M+ section 3.3).

        Args:
            layer: which layer.
            queries: [T, R] f_q of the prompt's tokens.

        Returns:
            [m] indices in reading order, oldest first (m is M, or n where the pool holds fewer),
            and the scores [n] of all rows.
        """
        table = self.tables[layer]
        scores = torch.cat([retrieval_scores(queries, keys) for keys in table.blocks("key")])
        best = scores.topk(min(self.retrieved, len(table)), sorted=False).indices.sort().values
        order = oldest_first(torch.arange(len(best), device=best.device), table.take("birth", best))
        return best[order], scores

    def take(self, layer: int, name: str, chosen: Tensor, dtype: torch.dtype) -> Tensor:
        """[m, ...]: one column of the rows ``chosen`` [m] of one layer, as numbers of ``dtype``."""
        table = self.tables[layer]
        column = table.take(name, chosen)
        if not self.packed:
            return column
        return unpack(column, table.take(scale_of(name), chosen), dtype)

    def reading_count(self, layer: int) -> int:
        """m: how many rows a read of this layer retrieves."""
        return min(self.retrieved, len(self.tables[layer]))
