"""Rows of one layer's long-term memory: old ones in mapped segments, new ones in memory.

A drop-in for ``RowTable``: the long-term memory does not know which of the two it holds. A segment
never changes; rows that have left are skipped through an index.

Shapes: n rows in use, p rows in the segments, m chosen rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.memory.rows import RowTable
from memplus.store.blocks import Container

__all__ = ["MappedTable", "Part", "column_name"]


def column_name(layer: int, name: str) -> str:
    """The name of a layer's column in a segment."""
    return f"{layer}.{name}"


@dataclass(frozen=True)
class Part:
    """The first ``rows`` rows of one layer of a segment."""

    file: Container
    layer: int
    rows: int

    def between(self, name: str, start: int, stop: int) -> Tensor:
        """[stop - start, ...]: a checked view."""
        return self.file.rows(column_name(self.layer, name), start, stop)

    def gather(self, name: str, index: Tensor) -> Tensor:
        """[m, ...]: checked copies."""
        return self.file.gather(column_name(self.layer, name), index)


class MappedTable(RowTable):
    """Segments, then rows in memory.

    Args:
        parts: the segments' rows, in order.
        fresh: the rows after them; its columns are the table's.
        live: [k] which of the p rows in the segments are still there, ascending; None: all.
        own: columns [k, ...] that replace those of the segments (counters change).
    """

    def __init__(
        self,
        parts: Sequence[Part],
        fresh: RowTable,
        live: Tensor | None = None,
        own: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.parts = list(parts)
        self.fresh = fresh
        self.live = live
        self.own = dict(own or {})

    @property
    def physical(self) -> int:
        """p: rows in the segments, those that have left included."""
        return sum(part.rows for part in self.parts)

    @property
    def mapped(self) -> int:
        """Rows in the segments that are in use."""
        return self.physical if self.live is None else len(self.live)

    def __len__(self) -> int:
        return self.mapped + len(self.fresh)

    def __getitem__(self, name: str) -> Tensor:
        """[n, ...]: one column, gathered; for narrow columns."""
        return self.between(name, 0, len(self))

    @property
    def centres(self) -> dict[str, Tensor]:
        """What has been subtracted from every row of a packed column."""
        return self.fresh.centres

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return self.fresh.names

    def dtype(self, name: str) -> torch.dtype:
        """Of one column."""
        return self.fresh.dtype(name)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use, wherever they are."""
        width = sum(
            column.element_size() * column[:1].new_empty((1, *column.shape[1:])).numel()
            for column in self.fresh.columns().values()
        )
        return width * len(self)

    def between(self, name: str, start: int, stop: int) -> Tensor:
        """[stop - start, ...]: rows of one column, a view where they lie side by side."""
        mapped, device = self.mapped, self.fresh[name].device
        pieces: list[Tensor] = []
        if start < mapped:
            pieces += [p.to(device) for p in self._mapped(name, start, min(stop, mapped))]
        if stop > mapped:
            pieces.append(self.fresh.between(name, max(0, start - mapped), stop - mapped))
        if not pieces:
            return self.fresh.between(name, 0, 0)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _mapped(self, name: str, start: int, stop: int) -> list[Tensor]:
        if name in self.own:
            return [self.own[name][start:stop]]
        if self.live is not None:
            return [self._gather(name, self.live[start:stop])]
        pieces: list[Tensor] = []
        before = 0
        for part in self.parts:
            first, last = max(start - before, 0), min(stop - before, part.rows)
            if first < last:
                pieces.append(part.between(name, first, last))
            before += part.rows
        return pieces

    def take(self, name: str, index: Tensor) -> Tensor:
        """[m, ...]: copies of rows, in the order asked for."""
        mapped = self.mapped
        from_fresh = index >= mapped
        like = self.fresh[name]
        taken = like.new_empty((len(index), *like.shape[1:]))
        if bool(from_fresh.any()):
            taken[from_fresh] = self.fresh.take(name, index[from_fresh] - mapped)
        if not bool(from_fresh.all()):
            wanted = index[~from_fresh].cpu()
            if name in self.own:
                found = self.own[name][wanted]
            else:
                found = self._gather(name, wanted if self.live is None else self.live[wanted])
            taken[~from_fresh] = found.to(taken.device)
        return taken

    def _gather(self, name: str, index: Tensor) -> Tensor:
        """Rows [m, ...] by their place p in the segments."""
        like = self.fresh[name]
        found = like.new_empty((len(index), *like.shape[1:]), device="cpu")
        before = 0
        for part in self.parts:
            here = (index >= before) & (index < before + part.rows)
            if bool(here.any()):
                found[here] = part.gather(name, index[here] - before)
            before += part.rows
        return found

    def fork(self) -> MappedTable:
        """A table with the same rows that goes its own way."""
        return MappedTable(self.parts, self.fresh.fork(), self.live, self.own)

    def append(self, rows: Mapping[str, Tensor]) -> None:
        """Add rows, name -> [k, ...] for every column."""
        self.fresh.append(rows)

    def keep(self, mask: Tensor) -> None:
        """Keep only the rows where ``mask`` [n] is true, in their order."""
        mapped = self.mapped
        left = mask[:mapped].cpu()
        if not bool(left.all()):
            live = torch.arange(mapped) if self.live is None else self.live
            self.live = live[left]
            self.own = {name: column[left] for name, column in self.own.items()}
        if not bool(mask[mapped:].all()):
            self.fresh.keep(mask[mapped:])

    def replace(self, name: str, column: Tensor) -> None:
        """Give one column new values [n, ...], for this table alone."""
        self.own[name] = column[: self.mapped].cpu()
        self.fresh.replace(name, column[self.mapped :])

    def settled(self, part: Part, absorbed: int = 0) -> None:
        """The rows in memory now lie in a segment too: map them instead.

        Args:
            part: holds the rows of the last ``absorbed`` parts, then those in memory.
            absorbed: how many parts it replaces.
        """
        if self.live is not None:
            places = torch.arange(self.physical, self.physical + len(self.fresh))
            self.live = torch.cat([self.live, places])
        for name, column in self.own.items():
            self.own[name] = torch.cat([column, self.fresh[name].cpu()])
        self.parts = [*self.parts[: len(self.parts) - absorbed], part]
        columns = self.fresh.columns()
        empty = {n: c.new_empty((0, *c.shape[1:])) for n, c in columns.items()}
        self.fresh = RowTable(empty, self.centres)

    def left_in(self, at: int) -> int:
        """How many rows of one of the parts are in use."""
        first = sum(part.rows for part in self.parts[:at])
        last = first + self.parts[at].rows
        if self.live is None:
            return last - first
        return int(((self.live >= first) & (self.live < last)).sum())

    def rewritten(self, parts: Sequence[Part]) -> None:
        """All rows in use of the segments, and no others, now lie in these."""
        self.parts, self.live = list(parts), None
