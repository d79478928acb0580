"""Which rows a write made: births are counted, and kept nowhere but at the rows themselves.

A write's rows are born one after the other, the newest at the clock after it, and how many there
are follows from its tokens (``MemoryConfig.rows_of_write``). Of a write that takes in fewer tokens
than it makes rows the last rows are the text's own; those before them are older rows, computed
again, or rows of padding.

Shapes: n rows.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from memplus.memory.computed_again import ComputedAgain
from memplus.memory.contents import MemoryContents

__all__ = ["WriteBirths", "computed_again"]


class WriteBirths:
    """Births of the rows of each write of one memory, as it is now.

    Args:
        memory: its records, rows and clock.
    """

    def __init__(self, memory: MemoryContents) -> None:
        self._memory = memory
        self.rows: list[int] = []
        """Of each write; 0 of one that was forgotten, which hides how many it had."""
        self._newest: list[int | None] = []
        self._count()

    def newest(self, write_id: int) -> int | None:
        """Birth of the newest row of a write; None where nothing tells it.

        Where a forgotten write hides it from both sides it is looked up, for which all rows of
        the write must still be there.

        Args:
            write_id: from 1 on, of a write that was not forgotten.
        """
        known = self._newest[write_id - 1]
        if known is None:
            births = self._present(write_id)
            if len(births) == self.rows[write_id - 1]:
                known = self._newest[write_id - 1] = int(births[-1])
        return known

    def newest_at_most(self, write_id: int) -> int:
        """The same, or where nothing tells it the latest that it can be."""
        known = self.newest(write_id)
        if known is not None:
            return known
        for later in range(write_id + 1, len(self.rows) + 1):
            if self.rows[later - 1] and len(births := self._present(later)):
                return int(births[0]) - 1
        return self._memory.clock

    @property
    def counted_from(self) -> int:
        """The clock after the last write that was forgotten; 0 where none was."""
        last = max((at for at, rows in enumerate(self.rows, 1) if not rows), default=0)
        return self._memory.clock - sum(self.rows[last:]) if last else 0

    def _count(self) -> None:
        """Counted on from the first write, and back from the last."""
        config, clock = self._memory.config, 0
        fills = config.retrieves_spans or self._has_rows_of_the_model()
        for one in self._memory.writes:
            rows = config.rows_of_write(one.tokens) if one.tokens else 0
            # The first writes into an empty memory find too few rows there to fill up with.
            rows = rows if fills else min(rows, clock + one.tokens)
            fills = fills or not rows
            self.rows.append(rows)
            clock += rows
        clock = 0
        self._newest = [None] * len(self.rows)
        for at, rows in enumerate(self.rows):
            if not rows:
                break
            clock += rows
            self._newest[at] = clock
        clock = self._memory.clock
        for at in reversed(range(len(self.rows))):
            if not self.rows[at]:
                break
            self._newest[at] = clock
            clock -= self.rows[at]

    def _has_rows_of_the_model(self) -> bool:
        pool = self._memory.pool
        if pool is None:
            return False
        slots = pool.slot_order()[:1, : pool.count]
        return bool((pool.write_id[:1].gather(1, slots) == 0).any())

    def _present(self, write_id: int) -> Tensor:
        """[n]: births of the rows of a write that are left in the first layer, ascending."""
        pool, long_term = self._memory.pool, self._memory.long_term
        found = []
        if pool is not None:
            found.append(pool.birth[0][pool.write_id[0] == write_id])
        if long_term is not None:
            table = long_term.books(0)
            found.append(table["birth"][table["write_id"] == write_id])
        return torch.cat(found).sort().values if found else torch.zeros(0, dtype=torch.int64)


def computed_again(
    memory: MemoryContents, gone: Collection[int], births: WriteBirths
) -> ComputedAgain | None:
    """The rows of short writes behind some writes that are computed again from rows of those.

    Whoever forgets the writes has to take these rows away too: they hold the same text. A write
    fills up with the newest rows of its time, so the first write that needs none, or is forgotten
    itself, ends what they reach.

    Args:
        memory: before anything is forgotten.
        gone: ids of the writes.
        births: of its rows.
    """
    reached, span = False, memory.config.span_rows
    first, again, ends = (torch.zeros(len(memory.writes) + 1, dtype=torch.int64) for _ in range(3))
    for one in memory.writes:
        rows = births.rows[one.id - 1]
        if one.id in gone:
            reached = True
        elif reached and rows > one.tokens:
            first[one.id] = births.newest_at_most(one.id) - one.tokens + 1
            again[one.id] = rows - one.tokens
            newest = births.newest(one.id)
            ends[one.id] = 0 if newest is None else newest - rows + span
        elif rows:
            reached = False
    return ComputedAgain(first, again, ends, span) if bool(again.any()) else None
