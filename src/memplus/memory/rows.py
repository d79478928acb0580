"""Rows of one layer, append-only and shared between forks.

A table is a set of tensors with the same leading dimension. A fork shares the storage; whoever
appends first keeps it, the other copies: like slices of one growing array.

Shapes: n rows in use, c rows of capacity.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

__all__ = ["BLOCK_ROWS", "RowTable"]

BLOCK_ROWS = 16_384
"""Rows that are scored at once: a fixed grid, so that scores do not depend on where rows lie."""
_GROWTH = 1.5
_SMALLEST = 64
_CLAIMING = threading.Lock()


class _Shared:
    """Storage behind one or more tables; ``used`` rows of it belong to somebody."""

    def __init__(self, columns: dict[str, Tensor], used: int) -> None:
        self.columns = columns
        self.used = used


class RowTable:
    """An append-only table of rows.

    Args:
        columns: name -> [n, ...]; without any the table has no rows. Taken as they are, not
            copied.
        centres: see the property.
    """

    def __init__(
        self, columns: Mapping[str, Tensor], centres: Mapping[str, Tensor] | None = None
    ) -> None:
        self._centres = dict(centres or {})
        self._length = next((column.shape[0] for column in columns.values()), 0)
        self._shared = _Shared(dict(columns), self._length)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> Tensor:
        """[n, ...]: a view of one column, not to be written to."""
        return self._shared.columns[name][: self._length]

    @property
    def centres(self) -> dict[str, Tensor]:
        """What has been subtracted from every row of a packed column: name -> [...] float32."""
        return self._centres

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return list(self._shared.columns)

    def dtype(self, name: str) -> torch.dtype:
        """Of one column."""
        return self._shared.columns[name].dtype

    def columns(self) -> dict[str, Tensor]:
        """Views of every column, [n, ...] each."""
        return {name: self[name] for name in self.names}

    def take(self, name: str, index: Tensor) -> Tensor:
        """[m, ...]: copies of the rows ``index`` [m] of one column."""
        return self[name].index_select(0, index)

    def between(self, name: str, start: int, stop: int) -> Tensor:
        """[stop - start, ...]: rows of one column, not to be written to."""
        return self[name][start:stop]

    def blocks(self, name: str, together: int = 1) -> Iterator[Tensor]:
        """One column in pieces of ``BLOCK_ROWS`` rows, in order; an empty one has one piece.

        Args:
            name: of the column.
            together: so many rows, from the first one on, are never divided: pieces are as much
                shorter, or longer where ``BLOCK_ROWS`` are fewer than that.
        """
        size = max(1, BLOCK_ROWS // together) * together
        for start in range(0, max(1, len(self)), size):
            yield self.between(name, start, min(start + size, len(self)))

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use, whoever shares them."""
        return sum(c.element_size() * c[:1].numel() for c in self._shared.columns.values()) * (
            self._length
        )

    def fork(self) -> RowTable:
        """A table with the same rows that goes its own way."""
        twin = RowTable.__new__(RowTable)
        twin._length = self._length
        twin._shared = self._shared
        twin._centres = dict(self._centres)
        return twin

    def append(self, rows: Mapping[str, Tensor]) -> None:
        """Add rows, name -> [k, ...] for every column."""
        if not rows:
            return
        count = next(iter(rows.values())).shape[0]
        needed = self._length + count
        capacity = next(iter(self._shared.columns.values())).shape[0]
        if not self._claim(needed, capacity):
            self._move(max(needed, int(capacity * _GROWTH), _SMALLEST))
            self._shared.used = needed
        for name, column in self._shared.columns.items():
            column[self._length : needed] = rows[name]
        self._length = needed

    def _claim(self, needed: int, capacity: int) -> bool:
        """Make free rows of the storage this table's, unless a fork has taken them already."""
        with _CLAIMING:
            if needed > capacity or self._shared.used != self._length:
                return False
            self._shared.used = needed
            return True

    def _move(self, capacity: int) -> None:
        moved: dict[str, Tensor] = {}
        for name, column in self._shared.columns.items():
            moved[name] = column.new_empty((capacity, *column.shape[1:]))
            moved[name][: self._length] = column[: self._length]
        self._shared = _Shared(moved, self._length)

    def keep(self, mask: Tensor) -> None:
        """Keep only the rows where ``mask`` [n] is true, in their order."""
        index = torch.nonzero(mask).squeeze(1)
        kept = {name: self[name].index_select(0, index) for name in self._shared.columns}
        self._length = int(index.numel())
        self._shared = _Shared(kept, self._length)

    def replace(self, name: str, column: Tensor) -> None:
        """Give one column new values [n, ...], for this table alone."""
        columns = self.columns()
        columns[name] = column
        self._shared = _Shared(columns, self._length)
