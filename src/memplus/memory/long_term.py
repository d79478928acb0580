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
from memplus.memory.computed_again import ComputedAgain
from memplus.memory.eviction import merged
from memplus.memory.layout import BOOKS, LongTermLayout
from memplus.memory.packing import (
    KEY,
    PACKED,
    RowKind,
    Share,
    centres_of,
    leading_of,
    more_of,
    pack,
    scale_of,
    share_of,
    unpack,
    widely,
)
from memplus.memory.retriever import (
    best_first,
    directions,
    oldest_first,
    retrieval_scores,
    span_matches,
    with_neighbours,
)
from memplus.memory.rows import RowTable

__all__ = ["LongTermPool"]


class LongTermPool:
    """One ``RowTable`` per layer: what a read needs of a row, its key, birth and write id.

    Args:
        tables: one per layer, with the columns that ``LongTermLayout`` gives it: those of the row
            format, ``birth`` [n] int64 and ``write_id`` [n] int32, ``key`` [n, R] where the layer
            has a retriever, ``counter`` [n] under counter eviction.
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
        self.layout = _layout_of(self.tables)
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
        twin = LongTermPool(tables, self.eviction, self.retrieved, rows=self.rows, span=self.span)
        twin.waiting = self.waiting
        twin.writes_since_merge = self.writes_since_merge
        return twin

    def append(
        self, dropped: Mapping[str, Tensor] | None, beside: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take the rows that one write dropped, then evict.

        Called once per write, also when nothing was dropped: the counter rule counts writes.

        Args:
            dropped: name -> [L, c, ...].
            beside: name -> [L, N, ...], the rows that stay in the short-term pool: what rows
                have in common is looked for among them too (``packing.widely``), since the first
                ones that are dropped may be of one short text.
        """
        if dropped is not None:
            for layer, table in enumerate(self.tables):
                rows = self.layout.of_layer(dropped, layer)
                table.append(self._kept(layer, rows, beside))
            self.waiting += dropped["birth"].shape[1]
        self.writes_since_merge += 1
        if isinstance(self.eviction, CounterEviction):
            self._merge(self.eviction)
        elif isinstance(self.eviction, OldestEviction):
            self._evict_oldest(self.eviction.max_rows)

    def forget(self, writes: Tensor, again: ComputedAgain | None = None) -> int:
        """Take out every row of some writes; returns how many went, over all layers.

        Args:
            writes: [w] int32 write ids.
            again: what other writes computed again from their rows; see ``ShortTermPool.forget``.
        """
        if again is not None and self.span > 1:
            self._take_over(again)
        masks = {}
        for at in self.layout.booked:
            write_id = self.tables[at]["write_id"]
            masks[at] = ~torch.isin(write_id, writes)
            if again is not None:
                masks[at] &= ~again.taken_out(write_id, self.tables[at]["birth"])
        gone = sum(int((~masks[self._booked(layer)]).sum()) for layer in self.layout.stored)
        self._keep(masks)
        self.waiting = min(self.waiting, len(self))
        return gone

    def _take_over(self, again: ComputedAgain) -> None:
        """Give the spans that hold rows computed again rows of their own text in their place.

        They are put behind all others, since what lies in a file is never changed in its place.
        """
        booked = {at: self.tables[at] for at in self.layout.booked}
        sources = {at: again.sources(one["write_id"], one["birth"]) for at, one in booked.items()}
        for layer, table in enumerate(self.tables):
            source = sources[self._booked(layer)]
            same = source == torch.arange(len(source), device=source.device)
            spans = same.view(-1, self.span).all(dim=1).repeat_interleave(self.span)
            if not table.names or bool(spans.all()):
                continue
            places = torch.nonzero(~spans).squeeze(1)
            rows = {
                name: table.take(name, places if name in BOOKS else source[places])
                for name in table.names
            }
            table.keep(spans)
            table.append(rows)

    def take_back(
        self, layer: int, rows: Mapping[str, Tensor], beside: Mapping[str, Tensor]
    ) -> None:
        """Add rows [c, ...] that left one layer's short-term pool outside a write.

        Args:
            layer: which one.
            rows: name -> [c, ...].
            beside: name -> [L, N, ...], the rows that stay in the pool; see ``append``.
        """
        table = self.tables[layer]
        if len(rows["birth"]):
            own = {name: column for name, column in rows.items() if name in table.names}
            table.append(self._kept(layer, own, beside))

    def _kept(
        self, layer: int, rows: Mapping[str, Tensor], beside: Mapping[str, Tensor] | None
    ) -> dict[str, Tensor]:
        """New rows [c, ...] of a layer as its table keeps them, the first ones telling how."""
        table = self.tables[layer]
        if self.rows != "exact" and not len(table) and any(map(len, rows.values())):
            wide = beside and widely(self.rows, max(map(len, rows.values())))
            more = self.layout.of_layer(beside, layer) if beside and wide else {}
            table.centres.clear()
            table.centres.update(_in_common(rows, more, self.rows, share_of(table)))
        keys = KEY in table.names and table.dtype(KEY) == torch.int8
        kept = pack(rows, self.rows, table.centres, keys=keys, share=share_of(table))
        if isinstance(self.eviction, CounterEviction) and "birth" in rows:
            initial = float(self.eviction.initial)
            kept["counter"] = torch.full_like(rows["birth"], initial, dtype=torch.float32)
        return kept

    def _booked(self, layer: int) -> int:
        """The layer whose table keeps the bookkeeping of a layer's rows."""
        return layer if layer in self.layout.booked else self.layout.booked[0]

    def books(self, layer: int) -> RowTable:
        """The table with birth and write id of a layer's rows, in the same order."""
        return self.tables[self._booked(layer)]

    def _keep(self, masks: Mapping[int, Tensor]) -> None:
        """Keep the rows where the mask [n] of their bookkeeping's layer is true."""
        for layer, table in enumerate(self.tables):
            if table.names and not bool(masks[self._booked(layer)].all()):
                table.keep(masks[self._booked(layer)])
                if not len(table):
                    table.centres.clear()  # which the next rows find anew

    def _merge(self, rule: CounterEviction) -> None:
        if self.writes_since_merge < rule.every:
            return
        masks: dict[int, Tensor] = {}
        for at in self.layout.booked:
            table = self.tables[at]
            after = merged(table["counter"], rule, self.retrieved)
            if after is None:
                masks[at] = torch.ones_like(table["counter"], dtype=torch.bool)
            else:
                counters, masks[at] = after
                table.replace("counter", counters)
        self._keep(masks)
        self.waiting = self.writes_since_merge = 0

    def _evict_oldest(self, max_rows: int) -> None:
        most = max_rows // self.span
        if all(len(self.tables[at]) // self.span <= most for at in self.layout.booked):
            return  # as after most writes; a look at every layer's mask is a wait for a GPU
        masks: dict[int, Tensor] = {}
        for at in self.layout.booked:
            table = self.tables[at]
            births = self._births(table)
            kept = torch.ones_like(births, dtype=torch.bool)
            excess = len(kept) - most
            if excess > 0:
                # Among equal births the span that was dropped first goes first.
                kept[births.sort(stable=True).indices[:excess]] = False
            masks[at] = kept.repeat_interleave(self.span)
        self._keep(masks)

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

    def span_matches(self, prompts: Sequence[Tensor]) -> list[Tensor]:
        """What the tokens of several prompts match every span with; a span's score is their mean.

        Every key is looked up once, however many prompts there are.

        Args:
            prompts: [T, R] f_q of each prompt's tokens at the layer that asks.

        Returns:
            [T, n / s] for every prompt.
        """
        matches: list[list[Tensor]] = [[] for _ in prompts]
        for keys in self.tables[self.layout.keyed[0]].blocks(KEY, together=self.span):
            unit = directions(keys)
            for found, queries in zip(matches, prompts, strict=True):
                found.append(span_matches(queries, unit, self.span))
        return [torch.cat(found, dim=1) for found in matches]

    def best_spans(self, scores: Tensor, *, neighbours: bool = False) -> Tensor:
        """The spans that are retrieved: the same rows in every layer.

        Args:
            scores: [n / s] of all spans; one of minus infinity is nobody's neighbour.
            neighbours: whether each one takes along the one told just before or after it,
                whichever has the higher score, where it is there and was not taken yet.

        Returns:
            [m] indices of rows in reading order, span after span, the oldest first.
        """
        count = min(self.retrieved // self.span, len(scores))
        if neighbours:
            births = self._births(self.tables[self.layout.keyed[0]])
            best = with_neighbours(scores, births, self.span, count).sort().values
        else:
            best = best_first(scores, count).sort().values
        births = self.span_births(best)
        best = best[oldest_first(torch.arange(count, device=best.device), births)]
        return self._rows_of(best)

    def span_births(self, spans: Tensor) -> Tensor:
        """[c]: births of the last rows of spans [c], at the layer that has their keys."""
        last = spans * self.span + self.span - 1
        return self.tables[self.layout.keyed[0]].take("birth", last)

    def span_directions(self, spans: Tensor) -> Tensor:
        """[c, s, R]: directions of the keys of spans [c]."""
        keys = self.tables[self.layout.keyed[0]].take(KEY, self._rows_of(spans))
        return directions(keys).view(len(spans), self.span, keys.shape[1])

    def _rows_of(self, spans: Tensor) -> Tensor:
        """[c * s] rows of spans [c], span after span."""
        return (spans[:, None] * self.span + torch.arange(self.span, device=spans.device)).flatten()

    def take(self, layer: int, name: str, chosen: Tensor, dtype: torch.dtype) -> Tensor:
        """[m, ...]: one column of the rows ``chosen`` [m] of one layer, as numbers of ``dtype``."""
        table = self.tables[layer]
        if self.rows == "exact":
            return table.take(name, chosen)
        return _unpacked(table, name, chosen, dtype)

    def reading_count(self, layer: int) -> int:
        """m: how many rows a read of this layer retrieves; 0 where it keeps none."""
        return min(self.retrieved, len(self.tables[layer])) if layer in self.layout.stored else 0


def _layout_of(tables: Sequence[RowTable]) -> LongTermLayout:
    """What tables keep where, by the names of their columns."""
    rows = [at for at, one in enumerate(tables) if set(one.names) - {KEY, *BOOKS}]
    keyed = [at for at, one in enumerate(tables) if KEY in one.names]
    booked = [at for at, one in enumerate(tables) if BOOKS[0] in one.names]
    spans = [range(at[0], at[-1] + 1) if at else range(0) for at in (rows, keyed, booked)]
    return LongTermLayout(*spans)


def _unpacked(table: RowTable, name: str, chosen: Tensor, dtype: torch.dtype) -> Tensor:
    """[m, ...]: one column of the rows ``chosen`` [m] of a packed table."""
    parts = [table.take(one, chosen) for one in (name, more_of(name)) if one in table.names]
    scale = table.take(scale_of(name), chosen)
    common = table.centres.get(name), table.centres.get(leading_of(name))
    return unpack(torch.cat(parts, dim=-1), scale, dtype, *common, share_of(table))


def _in_common(
    rows: Mapping[str, Tensor], beside: Mapping[str, Tensor], kind: RowKind, share: Share
) -> dict[str, Tensor]:
    """What ``centres_of`` finds in rows [c, ...] together with those ``beside`` them, [N, ...]."""
    names = [name for name in PACKED if name in rows]
    pieces = {name: [rows[name], *([beside[name]] if name in beside else [])] for name in names}
    return centres_of({name: torch.cat(one) for name, one in pieces.items()}, kind, share)
