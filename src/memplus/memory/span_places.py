"""Which tokens of a write a span of its rows was made of.

A write's rows are born one after the other, the newest at the clock after it, and how many there
are follows from its tokens (``MemoryConfig.rows_of_write``): so a span's birth tells its place in
its write, and nothing has to be kept beside it.

Shapes: n rows, s rows of a span.
"""

from __future__ import annotations

import torch

from memplus.memory.contents import MemoryContents

__all__ = ["SpanPlaces"]

_DERIVED = "span_places"


class SpanPlaces:
    """Places of spans in the writes of one memory, as it is now.

    Args:
        memory: whose config retrieves spans.
    """

    def __init__(self, memory: MemoryContents) -> None:
        self._memory = memory
        self._rows = [
            memory.config.rows_of_write(one.tokens) if one.tokens else 0 for one in memory.writes
        ]
        self._newest = self._counted()

    @classmethod
    def of(cls, memory: MemoryContents) -> SpanPlaces:
        """The places of a memory, worked out once for each of its states."""
        version, places = memory.derived.get(_DERIVED, (None, None))
        if places is None or version != memory.version:
            places = cls(memory)
            memory.derived[_DERIVED] = (memory.version, places)
        found: SpanPlaces = places
        return found

    def tokens(self, write_id: int, birth: int) -> tuple[int, int]:
        """The first token of a span, and the one after its last, from the beginning of its write.

        All of the write where it left fewer rows than it took in tokens, since no row is then of
        one place, and where forgetting has taken away what its births would be counted from.

        Args:
            write_id: from 1 on, of a write that was not forgotten.
            birth: of the span's last row.
        """
        config, tokens = self._memory.config, self._memory.writes[write_id - 1].tokens
        rows, newest = self._rows[write_id - 1], self._newest_of(write_id)
        if rows < tokens or newest is None:
            return 0, tokens
        # Rows before the text's own are older ones, computed again, or those of padding.
        stop = rows - (newest - birth) - (rows - tokens)
        return max(0, stop - config.span_rows), stop

    def _counted(self) -> list[int | None]:
        """Birth of the newest row of each write: counted on from the first, back from the last.

        A forgotten write hides how many rows it had from both sides alike.
        """
        writes, clock = self._memory.writes, 0
        newest: list[int | None] = [None] * len(writes)
        for at, rows in enumerate(self._rows):
            if not writes[at].tokens:
                break
            clock += rows
            newest[at] = clock
        clock = self._memory.clock
        for at in reversed(range(len(writes))):
            if not writes[at].tokens or newest[at] is not None:
                break
            newest[at] = clock
            clock -= self._rows[at]
        return newest

    def _newest_of(self, write_id: int) -> int | None:
        """Birth of the newest row of a write, looked up where it could not be counted.

        All of its rows must still be there for that.
        """
        known = self._newest[write_id - 1]
        if known is None:
            births = self._births_of(write_id)
            if len(births) == self._rows[write_id - 1]:
                known = self._newest[write_id - 1] = int(births.max())
        return known

    def _births_of(self, write_id: int) -> torch.Tensor:
        """[n]: births of the rows of a write that are left in a layer."""
        pool, long_term = self._memory.pool, self._memory.long_term
        found = []
        if pool is not None:
            found.append(pool.birth[0][pool.write_id[0] == write_id])
        if long_term is not None:
            table = long_term.books(0)
            found.append(table["birth"][table["write_id"] == write_id])
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)
