"""The segments of a memory: files of long-term rows, never changed, only joined or left behind."""

from __future__ import annotations

from collections.abc import Sequence

from memplus.memory.state import Memory
from memplus.store.folder import Folder, Segment
from memplus.store.manifest import Manifest, SegmentEntry
from memplus.store.mapped import MappedTable, Part

__all__ = ["Segments", "long_term_tables", "waiting_bytes"]


class Segments:
    """Those of one memory, mapped.

    Args:
        folder: where they lie.
        smallest: bytes; a last segment below it is joined with the next one.
    """

    def __init__(self, folder: Folder, smallest: int) -> None:
        self.folder = folder
        self.smallest = smallest
        self.mapped: list[Segment] = []

    @property
    def entries(self) -> list[SegmentEntry]:
        """For the manifest."""
        return [segment.entry for segment in self.mapped]

    def load(self, manifest: Manifest) -> list[Segment]:
        """Map what the manifest names.

        Raises:
            FileNotFoundError, CorruptMemoryError, MemoryVersionError.
        """
        self.mapped = self.folder.segments(manifest)
        return self.mapped

    def clear(self) -> None:
        """Have none; a map ends once nothing looks at its rows."""
        self.mapped = []

    def move_rows(self, memory: Memory) -> None:
        """Put the memory's long-term rows that lie in RAM into a segment, and map them there."""
        tables = long_term_tables(memory)
        if not any(len(table.fresh) for table in tables):
            return
        last = self.mapped[-1] if self.mapped else None
        absorbed = int(last is not None and last.whole and last.file.length < self.smallest)
        bounds = [(table.mapped, len(table)) for table in tables]
        segment = self.folder.write_segment(tables, absorbed, bounds)
        for layer, table in enumerate(tables):
            table.settled(Part(segment.file, layer, segment.entry.rows[layer]), absorbed)
        self.mapped = [*self.mapped[: len(self.mapped) - absorbed], segment]

    def rewrite(self, memory: Memory) -> None:
        """Write segments that hold rows which have left anew, so that nothing of those stays."""
        tables = long_term_tables(memory)
        starts = [0] * len(tables)
        made: list[Segment] = []
        for at, segment in enumerate(self.mapped):
            left = [table.left_in(at) for table in tables]
            bounds = [(start, start + rows) for start, rows in zip(starts, left, strict=True)]
            starts = [stop for _, stop in bounds]
            if segment.whole and left == segment.entry.rows:
                made.append(segment)
            elif any(left):
                made.append(self.folder.write_segment(tables, 0, bounds))
        self.mapped = made
        for layer, table in enumerate(tables):
            table.rewritten([Part(s.file, layer, s.entry.rows[layer]) for s in made])


def long_term_tables(memory: Memory) -> list[MappedTable]:
    """The memory's long-term rows, one table per layer; none before the first write."""
    found = [] if memory.long_term is None else memory.long_term.tables
    assert all(isinstance(table, MappedTable) for table in found)
    return found  # type: ignore[return-value]


def waiting_bytes(tables: Sequence[MappedTable]) -> int:
    """Bytes of rows that lie in RAM and in no segment."""
    return sum(table.fresh.nbytes for table in tables)
