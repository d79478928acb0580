"""Which tokens of a write a span of its rows was made of.

A span's birth tells its place in its write (``memory.births``), so nothing is kept beside it.
"""

from __future__ import annotations

from memplus.memory.births import WriteBirths
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
        self._births = WriteBirths(memory)

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
        rows, newest = self._births.most[write_id - 1], self._births.newest(write_id)
        if rows < tokens or newest is None:
            return 0, tokens
        # Rows before the text's own repeat them, or are older ones, computed again.
        stop = tokens - (newest - birth)
        # Spans that no token falls into, where K exceeds the chunk, repeat the text.
        return (max(0, stop - config.span_rows), stop) if stop > 0 else (0, tokens)
