"""One memory's folder: its files by name, its segments, its log.

Files get names drawn at random, so that no two files ever have the same name; a fork holds the same
files under the same names (hard links), which is why none of them is changed once it is named.

Shapes: L layers, n rows of a layer.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from memplus.errors import CorruptMemoryError
from memplus.store.blocks import Container, Residency, layout, write_container
from memplus.store.database import companions
from memplus.store.disk import Disk, Sink
from memplus.store.manifest import NAME, Generation, LogPart, Manifest, SegmentEntry
from memplus.store.mapped import MappedTable, Part, column_name
from memplus.store.transit import FROM, TO

__all__ = ["Folder", "Segment", "parts_of", "trimmed"]

_PIECE_ROWS = 1 << 16


@dataclass(frozen=True)
class Segment:
    """An open segment and how much of it belongs to the memory."""

    entry: SegmentEntry
    file: Container

    @property
    def whole(self) -> bool:
        """Whether all of its rows do."""
        return self.held == self.entry.rows

    @property
    def held(self) -> list[int]:
        """Per layer: rows that the file has, of whatever memory; 0 where it has no column."""
        rows = {name: (self.file.shape(name) or [0])[0] for name in self.file.names}
        lengths = {name.partition(".")[0]: count for name, count in rows.items()}
        return [lengths.get(str(layer), 0) for layer in range(len(self.entry.rows))]


@dataclass
class Folder:
    """A memory's files.

    Args:
        path: the folder.
        disk: makes every change.
        residency: keeps mapped files within their budget.

    Attributes:
        known: names of files of which this handle knows that no writer after it names them, unless
            its own last manifest does: those that it made, and those of states that it replaced.
    """

    path: Path
    disk: Disk
    residency: Residency = field(default_factory=Residency)
    known: set[str] = field(default_factory=set)

    def new(self, kind: str) -> Path:
        """A path that nothing has."""
        name = f"{kind}-{secrets.token_hex(8)}"
        self.known.add(name)
        return self.path / name

    def map(self, name: str) -> Container:
        """Open a container by its name.

        Raises:
            FileNotFoundError, CorruptMemoryError, MemoryVersionError.
        """
        container = Container.open(self.path / name)
        container.residency = self.residency
        self.residency.watch(container)
        return container

    def segments(self, manifest: Manifest) -> list[Segment]:
        """The memory's segments, mapped."""
        found = [Segment(entry, self.map(entry.name)) for entry in manifest.segments]
        for segment in found:
            if any(have < rows for have, rows in zip(segment.held, segment.entry.rows)):
                raise CorruptMemoryError(segment.file.path, reason="it has too few rows")
        return found

    def write_segment(
        self, tables: Sequence[MappedTable], absorbed: int, bounds: Sequence[tuple[int, int]]
    ) -> Segment:
        """A segment of rows of every layer.

        Args:
            tables: one per layer.
            absorbed: how many of their last parts go first, whole.
            bounds: per layer, the first of the rows in use that follow and the first after them.
        """
        rows = [
            sum(part.rows for part in table.parts[len(table.parts) - absorbed :]) + stop - start
            for table, (start, stop) in zip(tables, bounds, strict=True)
        ]
        shapes = {}
        for name, layer in _columns(tables):
            like = tables[layer].fresh[name]
            shapes[column_name(layer, name)] = (like.dtype, [rows[layer], *like.shape[1:]])
        path = self.new("segment")
        with self.disk.create(path) as sink:
            plan = layout({"kind": "segment"}, shapes)
            write_container(sink, plan, _pieces(tables, absorbed, bounds))
        return Segment(SegmentEntry(path.name, rows), self.map(path.name))

    def shortened(self, entry: SegmentEntry) -> SegmentEntry:
        """A segment of the memory's rows alone, where the file holds more than these.

        Raises:
            FileNotFoundError, CorruptMemoryError, MemoryVersionError.
        """
        segment = Segment(entry, self.map(entry.name))
        if segment.whole:
            return entry
        file = segment.file
        rows = {name: entry.rows[int(name.partition(".")[0])] for name in file.names}
        shapes = {
            name: (file.dtype(name), [count, *file.shape(name)[1:]]) for name, count in rows.items()
        }
        path = self.new("segment")
        with self.disk.create(path) as sink:
            write_container(sink, layout(file.meta, shapes), _first_rows(file, rows))
        return SegmentEntry(path.name, entry.rows)

    def open_log(self, manifest: Manifest) -> tuple[Sink, LogPart | None]:
        """The log to append to, and which part of it counts; None where it is new."""
        logs = manifest.current.logs
        if logs and manifest.log_open:
            path = self.path / logs[-1].name
            if os.stat(path, follow_symlinks=False).st_nlink == 1:
                return self.disk.extend(path, logs[-1].length), logs[-1]
        return self.disk.start(self.new("log")), None

    def size(self, generation: Generation) -> int:
        """Bytes that a generation keeps beside the segments."""
        names = [generation.snapshot, *(part.name for part in generation.logs)]
        return sum((self.path / name).stat().st_size for name in names)

    def collect(self, manifest: Manifest, used: Iterable[str] = ()) -> None:
        """Remove the files that the manifest does not name and that are not in use.

        In the order of their names: a journal goes before its log, so that whoever still finds the
        journal after opening the log has opened all of it.
        """
        named = manifest.files() | companions(manifest.journal) | {NAME, FROM, TO} | set(used)
        if manifest.hold is None:
            self._remove({entry.name for entry in os.scandir(self.path)} - named)
            return
        # What lies here now may be another writer's, who has taken the memory over unnoticed.
        gone = self.known - named
        self._remove({name for one in gone for name in _with_companions(one)})
        self.known -= gone

    def _remove(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            self.disk.remove(self.path / name)

    def tidy(self, manifest: Manifest, used: Iterable[str] = ()) -> None:
        """``collect`` where it is no harm if some of it cannot be done now."""
        with contextlib.suppress(OSError):
            self.collect(manifest, used)


def _with_companions(name: str) -> set[str]:
    return companions(name) if name.startswith("journal-") else {name}


def _pieces(
    tables: Sequence[MappedTable], absorbed: int, bounds: Sequence[tuple[int, int]]
) -> Iterator[Tensor]:
    for name, layer in _columns(tables):
        table, (start, stop) = tables[layer], bounds[layer]
        like = table.fresh[name]
        yield like.new_empty((0, *like.shape[1:]))  # also where a layer has no rows
        for part in table.parts[len(table.parts) - absorbed :]:
            for first in range(0, part.rows, _PIECE_ROWS):
                yield part.between(name, first, min(first + _PIECE_ROWS, part.rows))
        for first in range(start, stop, _PIECE_ROWS):
            yield table.between(name, first, min(first + _PIECE_ROWS, stop))


def _first_rows(file: Container, rows: Mapping[str, int]) -> Iterator[Tensor]:
    for name, count in rows.items():
        yield file.rows(name, 0, 0)  # also where there are none
        for first in range(0, count, _PIECE_ROWS):
            yield file.rows(name, first, min(first + _PIECE_ROWS, count))


def _columns(tables: Sequence[MappedTable]) -> list[tuple[str, int]]:
    """Name and layer of every column, in the order in which a segment holds them."""
    names = dict.fromkeys(name for table in tables for name in table.names)
    return [(name, at) for name in names for at, table in enumerate(tables) if name in table.names]


def parts_of(segments: Sequence[Segment], physical: Sequence[int]) -> list[list[Part]]:
    """Per layer, the first ``physical`` rows of the segments."""
    found: list[list[Part]] = []
    for layer, left in enumerate(physical):
        parts: list[Part] = []
        for segment in segments:
            rows = min(left, segment.entry.rows[layer])
            parts.append(Part(segment.file, layer, rows))
            left -= rows
        if left:
            raise CorruptMemoryError(Path(NAME), reason=f"{left} rows of layer {layer} are missing")
        found.append(parts)
    return found


def trimmed(entries: Sequence[SegmentEntry], physical: Sequence[int]) -> list[SegmentEntry]:
    """The segments' first ``physical`` rows; segments without any are left out."""
    if not physical:  # no row had left the short-term pool yet
        return []
    left = list(physical)
    kept: list[SegmentEntry] = []
    for entry in entries:
        rows = [min(have, want) for have, want in zip(entry.rows, left, strict=True)]
        left = [want - taken for want, taken in zip(left, rows, strict=True)]
        if any(rows):
            kept.append(SegmentEntry(entry.name, rows))
    return kept
