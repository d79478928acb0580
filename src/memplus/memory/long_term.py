"""The long-term memory: rows dropped from the short-term pool, found again by their keys.

Per layer, rows lie in the order in which they were dropped. What leaves, and when, is the
config's eviction rule (M+ section 3.2; the published code's rule is ``CounterEviction``).

With spans every drop is of whole ones, the same in all layers: row i belongs to span i // s.

Shapes: L layers, n rows of one layer, M retrieved rows, m rows that a read gets, s rows of a span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from memplus.config import CounterEviction, Eviction, OldestEviction
from memplus.memory.packing import KEY, RowKind, centres_of, pack, scale_of, unpack
from memplus.memory.retriever import (
    direction_scores,
    directions,
    oldest_first,
    retrieval_scores,
)
from memplus.memory.rows import RowTable

__all__ = ["LongTermPool", "layer_rows"]

# A counter at or below this has run out (value of the published code).
_SPENT = 0.01


def layer_rows(
    columns: Mapping[str, Tensor], layer: int, keyed: Sequence[int]
) -> dict[str, Tensor]:
    """One layer's rows, name -> [c, ...], from those of all layers.

    Args:
        columns: name -> [L, c, ...]; ``key`` has an entry for each layer in ``keyed`` alone.
        layer: which one.
        keyed: the layers that have a retriever, rising.
    """
    rows = {name: column[layer] for name, column in columns.items() if name != KEY}
    if layer in keyed:
        rows[KEY] = columns[KEY][keyed.index(layer)]
    return rows


class LongTermPool:
    """One ``RowTable`` per layer: what a read needs of a row, its key, birth and write id.

    Args:
        tables: one per layer, with the columns of the row format, ``birth`` [n] int64 and
            ``write_id`` [n] int32; ``key`` [n, R] where the layer has a retriever, ``counter`` [n]
            under counter eviction.
        eviction: the rule.
        retrieved: M, which the counter rule needs.
        rows: how wide columns are kept (``memory.packing``); the tables hold them so.
        span: rows that are retrieved together, s; 1 where single rows are.
    """

    def __init__(
        self,
        tables: Sequence[RowTable],
        eviction: Eviction,
        retrieved: int,
        *,
        rows: RowKind = "exact",
        span: int = 1,
    ) -> None:
        self.tables = list(tables)
        self.keyed = [layer for layer, table in enumerate(self.tables) if KEY in table.names]
        """Layers that have a retriever."""
        self.rows = rows
        self.span = span
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
        centres = sum(one.nbytes for table in self.tables for one in table.centres.values())
        return centres + sum(table.nbytes for table in self.tables)

    def fork(self) -> LongTermPool:
        """The same rows, going their own way."""
        tables = [table.fork() for table in self.tables]
        rule, kept, span = self.eviction, self.rows, self.span
        twin = LongTermPool(tables, rule, self.retrieved, rows=kept, span=span)
        twin.waiting = self.waiting
        twin.writes_since_merge = self.writes_since_merge
        return twin

    def append(self, dropped: Mapping[str, Tensor] | None) -> None:
        """Take the rows that one write dropped (name -> [L, c, ...]), then evict.

        Called once per write, also when nothing was dropped: the counter rule counts writes.
        """
        if dropped is not None:
            for layer, table in enumerate(self.tables):
                rows = self._packed(layer_rows(dropped, layer, self.keyed), table)
                if isinstance(self.eviction, CounterEviction):
                    rows["counter"] = torch.full_like(
                        rows["birth"], self.eviction.initial, dtype=torch.float32
                    )
                table.append(rows)
            self.waiting += dropped["birth"].shape[1]
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
        rows = self._packed(rows, table)
        columns = {name: rows[name] for name in table.names if name in rows}
        if isinstance(self.eviction, CounterEviction):
            columns["counter"] = torch.full_like(
                rows["birth"], self.eviction.initial, dtype=torch.float32
            )
        if len(rows["birth"]):
            table.append(columns)

    def _packed(self, rows: Mapping[str, Tensor], table: RowTable) -> dict[str, Tensor]:
        """New rows [c, ...] of a layer as its table keeps them; the first ones are its centre."""
        if self.rows != "exact" and not len(table) and len(rows["birth"]):
            table.centres.clear()
            table.centres.update(centres_of(rows))
        keys = KEY in table.names and table.dtype(KEY) == torch.int8
        return pack(rows, self.rows, table.centres, keys=keys)

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
            excess = len(table) // self.span - max_rows // self.span
            if excess > 0:
                # Among equal births the span that was dropped first goes first.
                oldest = self._births(table).sort(stable=True).indices[:excess]
                kept = torch.ones(len(table) // self.span, dtype=torch.bool, device=oldest.device)
                kept[oldest] = False
                table.keep(kept.repeat_interleave(self.span))

    def _births(self, table: RowTable) -> Tensor:
        """[n / s]: birth of every span, which is that of its last row."""
        return table["birth"][self.span - 1 :: self.span]

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

    def retrieve_spans(self, prompts: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The spans that each of several prompts retrieves: the same rows in every layer.

        Every key is looked up once, however many prompts there are.

        Args:
            prompts: [T, R] f_q of each prompt's tokens at the layer that asks.

        Returns:
            For every prompt [m] indices of rows in reading order, span after span, the oldest
            first, and the scores [n / s] of all spans.
        """
        scores: list[list[Tensor]] = [[] for _ in prompts]
        for keys in self.tables[self.keyed[0]].blocks(KEY, together=self.span):
            unit = directions(keys)
            for found, queries in zip(scores, prompts, strict=True):
                found.append(direction_scores(queries, unit, self.span))
        return [self._best_spans(torch.cat(found)) for found in scores]

    def _best_spans(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [m] of the spans of highest scores [n / s], oldest first, and the scores."""
        span, table = self.span, self.tables[self.keyed[0]]
        count = min(self.retrieved // span, len(scores))
        best = scores.topk(count, sorted=False).indices.sort().values
        births = table.take("birth", best * span + span - 1)
        best = best[oldest_first(torch.arange(count, device=best.device), births)]
        rows = best[:, None] * span + torch.arange(span, device=best.device)
        return rows.flatten(), scores

    def take(self, layer: int, name: str, chosen: Tensor, dtype: torch.dtype) -> Tensor:
        """[m, ...]: one column of the rows ``chosen`` [m] of one layer, as numbers of ``dtype``."""
        table = self.tables[layer]
        column = table.take(name, chosen)
        if self.rows == "exact":
            return column
        scale = table.take(scale_of(name), chosen)
        return unpack(column, scale, dtype, table.centres.get(name))

    def reading_count(self, layer: int) -> int:
        """m: how many rows a read of this layer retrieves."""
        return min(self.retrieved, len(self.tables[layer]))
