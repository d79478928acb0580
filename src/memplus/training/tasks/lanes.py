"""Memories while weights move: hidden vectors with ages and write ids, for documents side by side.

A ``Memory`` keeps keys and values, which are those of fixed weights; here every row stays the
hidden vector it was made as, and a read projects it with the weights of the day. Documents of a
batch write in step, so that all of them hold equally many rows.

Rows of the last writes may carry a graph: they are read with it, and ``detach_new_rows`` ends it.
What they drop lies in the long-term memory at once, without a graph.

Shapes: B documents, L layers, n short-term rows, K rows of a write, c dropped rows, S long-term
rows, d hidden size, R retriever width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.memory.short_term import draw_dropped

__all__ = ["DroppedRows", "LaneMemory", "Rows", "no_keys"]

_SAVED = "store"
"""Stem of the dropped rows' tensors in checkpoints, as the first of them had it."""
KeysOf = Callable[[int, Tensor], Tensor]
"""(layer, rows [B, c, d]) -> retrieval keys [B, c, R]; [B, c, 0] where they are not kept."""


def no_keys(layer: int, rows: Tensor) -> Tensor:
    """[B, c, 0]: for rows whose keys are worked out when they are asked for."""
    return rows[..., :0]


@dataclass
class Rows:
    """Rows of one length in every layer, oldest first."""

    vectors: Tensor
    """[B, L, n, d]."""
    birth: Tensor
    """[B, L, n] clock at which each was made, int64."""
    write_id: Tensor
    """[B, L, n] int64."""

    @classmethod
    def empty(cls, shape: tuple[int, int, int], like: Tensor) -> Rows:
        """No rows, for B, L and d."""
        batch, layers, width = shape
        whole = torch.zeros((batch, layers, 0), dtype=torch.int64, device=like.device)
        return cls(like.new_zeros((batch, layers, 0, width)), whole, whole)

    @property
    def count(self) -> int:
        """n."""
        return int(self.birth.shape[2])

    def at(self, places: Tensor) -> Rows:
        """Those at ``places`` [B, L, m]."""
        wide = places[..., None].expand(-1, -1, -1, self.vectors.shape[3])
        return Rows(
            self.vectors.gather(2, wide),
            self.birth.gather(2, places),
            self.write_id.gather(2, places),
        )

    def joined(self, other: Rows) -> Rows:
        """With others after them."""
        return Rows(
            torch.cat([self.vectors, other.vectors], dim=2),
            torch.cat([self.birth, other.birth], dim=2),
            torch.cat([self.write_id, other.write_id], dim=2),
        )

    def newest(self, count: int) -> Rows:
        """The last ``count``."""
        start = max(0, self.count - count)
        parts = (self.vectors, self.birth, self.write_id)
        return Rows(*(part[:, :, start:] for part in parts))

    def tensors(self, stem: str) -> dict[str, Tensor]:
        """By name, for saving."""
        return {
            f"{stem}.vectors": self.vectors,
            f"{stem}.birth": self.birth,
            f"{stem}.write_id": self.write_id,
        }

    @classmethod
    def from_tensors(cls, stem: str, tensors: dict[str, Tensor], like: Tensor) -> Rows:
        """Undo ``tensors``, as copies beside ``like``."""
        found = [tensors[f"{stem}.{name}"] for name in ("vectors", "birth", "write_id")]
        return cls(*(one.to(like.device, copy=True) for one in found))


class DroppedRows:
    """Dropped rows of every document, in slots; the oldest give way when all slots are taken.

    Args:
        slots: most rows per layer.
        shape: B, L, d and R.
        like: gives dtype and, unless ``on_cpu``, device.
        keys_of: works out the retrieval keys of dropped rows.
    """

    def __init__(
        self,
        slots: int,
        shape: tuple[int, int, int, int],
        like: Tensor,
        keys_of: KeysOf,
        *,
        on_cpu: bool,
    ) -> None:
        batch, layers, width, keys = shape
        device = torch.device("cpu") if on_cpu else like.device
        space = like.new_zeros((batch, layers, slots, width), device=device)
        marks = torch.zeros((batch, layers, slots), dtype=torch.int64, device=device)
        self.rows = Rows(space, marks, marks.clone())
        self.keys = like.new_zeros((batch, layers, slots, keys), device=device)
        self.slots = slots
        self.filled = 0
        self._keys_of = keys_of

    def without_room(self) -> DroppedRows:
        """The same for no rows at all."""
        batch, layers, _, keys = self.keys.shape
        vectors = self.rows.vectors
        on_cpu = vectors.device.type == "cpu"
        return DroppedRows(
            0, (batch, layers, vectors.shape[3], keys), vectors, self._keys_of, on_cpu=on_cpu
        )

    @property
    def held(self) -> Rows:
        """The rows there are, by slot."""
        parts = (self.rows.vectors, self.rows.birth, self.rows.write_id)
        return Rows(*(part[:, :, : self.filled] for part in parts))

    @torch.no_grad()
    def append(self, dropped: Rows) -> None:
        """Take in what one write dropped, without its graph."""
        dropped = dropped.newest(self.slots)
        count = dropped.count
        new = max(0, min(count, self.slots - self.filled))
        fresh = torch.arange(self.filled, self.filled + new, device=self.rows.birth.device)
        places = fresh.expand(*dropped.birth.shape[:2], -1)
        if new < count:
            # Among equal births the lower slot, which was filled first, gives way first.
            order = self.held.birth.sort(dim=2, stable=True).indices
            places = torch.cat([places, order[:, :, : count - new]], dim=2)
        self.filled += new
        keys = torch.stack(
            [self._keys_of(layer, dropped.vectors[:, layer]) for layer in range(places.shape[1])],
            dim=1,
        )
        self._put(self.rows.vectors, places, dropped.vectors)
        self._put(self.keys, places, keys)
        self._put(self.rows.birth, places, dropped.birth)
        self._put(self.rows.write_id, places, dropped.write_id)

    def _put(self, column: Tensor, places: Tensor, values: Tensor) -> None:
        values = values.to(column.device, column.dtype)
        if column.dim() == 4:
            places = places[..., None].expand(-1, -1, -1, column.shape[3])
        column.scatter_(2, places, values)

    def clear(self) -> None:
        """Forget all rows."""
        self.filled = 0

    def tensors(self) -> dict[str, Tensor]:
        """By name, for saving: the rows there are."""
        keys = self.keys[:, :, : self.filled]
        return {**self.held.tensors(_SAVED), f"{_SAVED}.keys": keys}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""
        self.filled = int(tensors[f"{_SAVED}.birth"].shape[2])
        columns = {**self.rows.tensors(_SAVED), f"{_SAVED}.keys": self.keys}
        for name, column in columns.items():
            column[:, :, : self.filled] = tensors[name]


class LaneMemory:
    """The memories of B documents.

    Args:
        config: N, K and how rows are dropped.
        shape: B, L and d.
        like: gives dtype and device.
        long_term: takes the dropped rows; None forgets them.
    """

    def __init__(
        self,
        config: MemoryConfig,
        shape: tuple[int, int, int],
        like: Tensor,
        long_term: DroppedRows | None = None,
    ) -> None:
        self.config = config
        self.long_term = long_term
        self.clock = 0
        self.writes = 0
        self.detached = Rows.empty(shape, like)
        """The short-term pool as of the last ``detach_new_rows``."""
        self._fresh: list[Rows] = []
        self._order = self._all(0)

    def empty(self) -> LaneMemory:
        """Empty memories of the same kind, which do not keep what they drop."""
        batch, layers, _, width = self.detached.vectors.shape
        like = self.detached.vectors
        long_term = self.long_term.without_room() if self.long_term is not None else None
        return LaneMemory(self.config, (batch, layers, width), like, long_term)

    def clear(self) -> None:
        """Forget all rows; the clock and the count of writes go on."""
        batch, layers, _, width = self.detached.vectors.shape
        self._fresh = []
        self.start_from(Rows.empty((batch, layers, width), self.detached.vectors))
        if self.long_term is not None:
            self.long_term.clear()

    def start_from(self, rows: Rows) -> None:
        """Start from rows that are there already."""
        self.detached = rows
        self._order = self._all(rows.count)

    def _all(self, count: int) -> Tensor:
        batch, layers = self.detached.birth.shape[:2]
        places = torch.arange(count, device=self.detached.birth.device)
        return places.expand(batch, layers, -1)

    @property
    def count(self) -> int:
        """n: rows a read finds in the short-term pool."""
        return int(self._order.shape[2])

    def context(self) -> Tensor:
        """[B, L, <= K, d]: what the next write attends to, with the graph that these rows have."""
        kept = self.config.tokens_per_write
        if self._fresh:
            return self._fresh[-1].vectors
        return self.detached.newest(kept).vectors

    def write(self, vectors: Tensor, generators: Sequence[torch.Generator]) -> None:
        """Take in the rows of one write; ``detach_new_rows`` makes them last.

        Args:
            vectors: [B, L, K, d], with or without a graph.
            generators: one per document: what it drops is its own affair.
        """
        batch, layers, count, _ = vectors.shape
        self.clock += count
        self.writes += 1
        ages = torch.arange(count - 1, -1, -1, device=vectors.device)
        birth = (self.clock - ages).expand(batch, layers, -1)
        made = Rows(vectors, birth, torch.full_like(birth, self.writes))
        excess = max(0, self.count + count - self.config.short_term_tokens)
        if excess:
            dropped = self._drop(excess, generators)
            if self.long_term is not None:
                self.long_term.append(dropped)
        before = self.detached.count + sum(rows.count for rows in self._fresh)
        self._fresh.append(made)
        places = (before + torch.arange(count, device=vectors.device)).expand(batch, layers, -1)
        self._order = torch.cat([self._order, places], dim=2)

    def _drop(self, excess: int, generators: Sequence[torch.Generator]) -> Rows:
        layers, shared = self._order.shape[1], self.config.drop == "shared"
        span = self.config.span_rows
        drop = torch.stack(
            [
                draw_dropped(self.count, excess, layers, g, shared=shared, span=span)
                for g in generators
            ]
        )
        dropped = torch.zeros_like(self._order, dtype=torch.bool)
        dropped.scatter_(2, drop.to(dropped.device), value=1)
        shape = (*self._order.shape[:2], -1)
        places, self._order = self._order[dropped].view(shape), self._order[~dropped].view(shape)
        vectors = [self._vectors(layer, places[:, layer]) for layer in range(places.shape[1])]
        return Rows(
            torch.stack(vectors, dim=1).detach(),
            self._births().gather(2, places),
            self._write_ids().gather(2, places),
        )

    def rows(self, layer: int) -> Tensor:
        """[B, n, d] of one layer, oldest first, with the graph of fresh rows."""
        return self._vectors(layer, self._order[:, layer])

    def _vectors(self, layer: int, places: Tensor) -> Tensor:
        """[B, m, d] of one layer at ``places`` [B, m], fresh rows counted on."""
        parts = [self.detached.vectors[:, layer], *(one.vectors[:, layer] for one in self._fresh)]
        bank = torch.cat(parts, dim=1) if self._fresh else parts[0]
        return bank.gather(1, places[..., None].expand(-1, -1, bank.shape[2]))

    def write_ids(self) -> Tensor:
        """[B, L, n] of the rows that ``rows`` gives."""
        return self._write_ids().gather(2, self._order)

    def births(self) -> Tensor:
        """[B, L, n] clock at which each of the rows that ``rows`` gives was made."""
        return self._births().gather(2, self._order)

    def _births(self) -> Tensor:
        return torch.cat([self.detached.birth, *(one.birth for one in self._fresh)], dim=2)

    def _write_ids(self) -> Tensor:
        parts = [self.detached.write_id, *(one.write_id for one in self._fresh)]
        return torch.cat(parts, dim=2)

    @torch.no_grad()
    def detach_new_rows(self) -> None:
        """End the graph of fresh rows: from now on they are rows like any others."""
        bank = self.detached
        for rows in self._fresh:
            bank = bank.joined(Rows(rows.vectors.detach(), rows.birth, rows.write_id))
        self.detached = bank.at(self._order)
        self._fresh = []
        self._order = self._all(self.detached.count)

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name, for saving; only when no row has a graph."""
        assert not self._fresh, "rows with a graph cannot be saved"
        state = {"clock": torch.tensor([self.clock, self.writes])}
        state |= self.detached.tensors("pool")
        return state | (self.long_term.tensors() if self.long_term is not None else {})

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``tensors``."""
        self.clock, self.writes = tensors["clock"].tolist()
        self.start_from(Rows.from_tensors("pool", tensors, self.detached.vectors))
        if self.long_term is not None:
            self.long_term.restore(tensors)
