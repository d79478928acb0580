"""How a memory's changes reach the disk: a log of writes, now and then a checkpoint.

A commit is one record at the end of the log, one transaction of the journal, and a new manifest
renamed into place; only the last makes it exist. Once the log is long, or where one call wrote
more than a log should hold, the commit is a checkpoint instead: rows go into a segment, the rest
into a snapshot, and the next commit begins a new log. Whatever fails on the way leaves the
manifest, and with it the memory, as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from memplus.errors import HistoryError
from memplus.memory.records import Passage, WriteRecord
from memplus.memory.state import Memory
from memplus.store.blocks import Container, Layout, read_records
from memplus.store.disk import Sink
from memplus.store.folder import Folder, Segment, parts_of, trimmed
from memplus.store.journal import Commit, Journal, Place, now
from memplus.store.manifest import Generation, LogPart, Manifest
from memplus.store.mapped import MappedTable, Part
from memplus.store.snapshot import (
    Logged,
    RowsOf,
    append_record,
    log_record,
    replay_record,
    restore,
    save_snapshot,
)

__all__ = ["Keeper", "Limits", "kept_commits"]


@dataclass(frozen=True)
class Limits:
    """When what is written is put elsewhere, in bytes."""

    log: int = 16 << 20
    """A commit that finds the log about this long becomes a checkpoint; opening reads it all."""
    segment: int = 16 << 20
    """Rows in memory beyond this go to a segment; smaller segments are joined with the next."""
    snapshots: float = 1.0
    """Log and rows in memory may also become this many times as long as the last snapshot. A large
    model's holds gigabytes of pool, and is not written again for every chunk."""
    history: int = 1 << 30
    """Snapshots and logs of earlier states kept for ``rollback``, oldest given up first."""


@dataclass(frozen=True)
class _Prepared:
    """What one commit holds."""

    record: tuple[Layout, list[Tensor]]
    passages: list[tuple[WriteRecord, Passage]]
    writes: int
    tokens: int
    waiting: int


class Keeper:
    """Keeps one memory.

    Args:
        folder: where.
        manifest: what is there.
        limits: when what goes where.
        writable: whether anything may be changed.
    """

    def __init__(
        self, folder: Folder, manifest: Manifest, limits: Limits, *, writable: bool
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.limits = limits
        self.writable = writable
        self.journal = Journal(folder.path / manifest.journal, folder.disk, writable=writable)
        self.segments: list[Segment] = []
        self.passages: list[tuple[WriteRecord, Passage]] = []
        self._logged: list[Logged] = []
        self._logged_bytes = 0
        self._spilled = False
        self._snapshot = "", 0
        self._prepared: _Prepared | None = None
        self._sink: Sink | None = None

    def close(self) -> None:
        """Give up files; nothing is written."""
        self._close_log()
        self.journal.close()

    def again(self) -> None:
        """Begin anew with what the disk says, after a change that failed half-way.

        Raises:
            OSError, CorruptMemoryError: it cannot be read.
        """
        self.close()
        self._taken()
        self.manifest = Manifest.load(self.folder.path)
        path = self.folder.path / self.manifest.journal
        self.journal = Journal(path, self.folder.disk, writable=self.writable)
        if self.writable:
            self.folder.tidy(self.manifest)

    def _close_log(self) -> None:
        if self._sink is not None:
            with contextlib.suppress(OSError):
                self._sink.close()
        self._sink = None

    # Reading ------------------------------------------------------------------------------------

    def load(self, memory: Memory, new_rows: RowsOf) -> None:
        """Make a memory what the manifest says; ``new_rows`` projects hidden vectors [L, k, d].

        Raises:
            FileNotFoundError: a file is gone: another process has changed the memory since.
            CorruptMemoryError, MemoryVersionError.
        """
        self.folder.residency.files.clear()
        self.segments = self.folder.segments(self.manifest)
        generation = self.manifest.current
        snapshot = Container.open(self.folder.path / generation.snapshot)
        restore(memory, snapshot, parts_of(self.segments, generation.physical))
        for part in generation.logs:
            for record in read_records(self.folder.path / part.name, part.length):
                replay_record(memory, record, new_rows)

    # Writing ------------------------------------------------------------------------------------

    def take(self, memory: Memory, written: Logged) -> None:
        """A write has become rows; they are on the disk once ``commit`` returns.

        Raises:
            OSError: the disk refused what no longer fits in memory.
        """
        self.passages.append((written.record, written.said))
        if not self._spilled:
            self._logged.append(written)
            self._logged_bytes += written.nbytes
        if self._logged_bytes > self._allowed(self.limits.log):
            self._spill()
        tables = _tables(memory)
        waiting = sum(table.fresh.nbytes for table in tables)
        if waiting > self._allowed(self.limits.segment):
            self._settle(tables)
            self._spill()

    def _allowed(self, least: int) -> int:
        """Bytes that may wait for a checkpoint."""
        name = self.manifest.current.snapshot
        if self._snapshot[0] != name:
            self._snapshot = name, 0
            with contextlib.suppress(FileNotFoundError):  # somebody took it away; reading says so
                self._snapshot = name, (self.folder.path / name).stat().st_size
        return max(least, int(self.limits.snapshots * self._snapshot[1]))

    def _spill(self) -> None:
        """This commit will be a checkpoint, so the log needs none of it."""
        self._spilled = True
        self._logged, self._logged_bytes = [], 0

    @property
    def must_checkpoint(self) -> bool:
        """Whether the next commit needs the memory itself, not only what was taken."""
        waiting = self._logged_bytes + self.manifest.current.logged
        return self._spilled or waiting > self._allowed(self.limits.log)

    def prepare(self, memory: Memory) -> None:
        """Fix what the next commit holds: everything taken so far."""
        record = log_record(memory, self._logged)
        sizes = (len(memory.writes), memory.tokens, len(memory.tail))
        self._prepared = _Prepared(record, list(self.passages), *sizes)

    def commit(self, what: str = "write") -> None:
        """Make what was prepared last.

        Raises:
            OSError: refused; the manifest is the one before, or already the new one.
        """
        prepared = self._prepared
        assert prepared is not None
        changed, place = self._appended(prepared.record)
        self._finish(prepared, changed, place, what)
        done = len(prepared.passages)
        del self.passages[:done]
        if not self._spilled:
            del self._logged[:done]
            self._logged_bytes = sum(one.nbytes for one in self._logged)

    def commit_whole(self, memory: Memory, what: str = "write") -> None:
        """Make the memory as it is last, as a checkpoint.

        Raises:
            OSError: as ``commit``.
        """
        self.prepare(memory)
        assert self._prepared is not None
        changed, place = self._checkpointed(memory)
        self._finish(self._prepared, changed, place, what)
        self._taken()

    def _taken(self) -> None:
        self.passages, self._logged, self._logged_bytes = [], [], 0
        self._spilled, self._prepared = False, None

    def checkpoint(self, memory: Memory, what: str, *, forgotten: Iterable[int] = ()) -> None:
        """Write the whole state anew, and give up all earlier ones.

        Args:
            memory: is what will be kept.
            what: for the history.
            forgotten: writes whose text goes.
        """
        changed, place = self._checkpointed(memory)
        changed = replace(changed, generations=changed.generations[-1:])
        path = self.folder.new("journal")
        last = self.manifest
        self.journal.copy(path, writes=last.writes, commits=last.commit, without=forgotten)
        self._use_journal(path)
        self.prepare(memory)
        assert self._prepared is not None
        self._finish(self._prepared, replace(changed, journal=path.name), place, what)
        self._taken()

    def begin_anew(self) -> None:
        """Forget what is there: the next ``replace_all`` is the whole memory."""
        self._taken()
        self.segments = []
        self._spilled = True

    def replace_all(self, memory: Memory, what: str) -> None:
        """Make the memory, all of it taken since ``begin_anew``, the only state there is."""
        changed, place = self._checkpointed(memory)
        path = self.folder.new("journal")
        Journal.create(path, self.folder.disk)
        self._use_journal(path)
        self.prepare(memory)
        assert self._prepared is not None
        changed = replace(changed, journal=path.name, generations=changed.generations[-1:])
        self._finish(self._prepared, changed, place, what)
        self._taken()

    def go_back(self, to_write: int) -> None:
        """Make the state after an earlier write the present one; load the memory anew then.

        Raises:
            HistoryError: that state is not kept.
        """
        kept = kept_commits(self.journal, self.manifest)
        found = [commit for commit in kept if commit.writes == to_write]
        if not found:
            listed = ", ".join(str(number) for number in sorted({c.writes for c in kept}))
            raise HistoryError(to_write, kept=listed)
        commit = found[-1]
        at = [g.snapshot for g in self.manifest.generations].index(commit.place.snapshot)
        generation = self.manifest.generations[at]
        names = [part.name for part in generation.logs]
        logs: list[LogPart] = []
        if commit.place.log:
            logs = generation.logs[: names.index(commit.place.log)]
            logs = [*logs, LogPart(commit.place.log, commit.place.length)]
        path = self.folder.new("journal")
        self.journal.copy(path, writes=commit.writes, commits=commit.number)
        changed = replace(
            self.manifest,
            journal=path.name,
            commit=commit.number,
            writes=commit.writes,
            tokens=commit.tokens,
            waiting=commit.waiting,
            changed=now(),
            log_open=False,
            segments=trimmed(self.manifest.segments, generation.physical),
            generations=[*self.manifest.generations[:at], replace(generation, logs=logs)],
        )
        self._use_journal(path)
        changed.save(self.folder.path, self.folder.disk)
        self._saved(changed)

    def _use_journal(self, path: Path) -> None:
        self.folder.disk.sync(self.folder.path)
        self.journal.close()
        self.journal = Journal(path, self.folder.disk, writable=True)

    def _appended(self, record: tuple[Layout, list[Tensor]]) -> tuple[Manifest, Place]:
        generation = self.manifest.current
        logs = list(generation.logs)
        if self._sink is None:
            self._sink, part = self.folder.open_log(self.manifest)
            if part is None:
                self.folder.disk.sync(self.folder.path)
                logs.append(LogPart(self._sink.path.name, 0))
        end = append_record(self._sink, logs[-1].length, record)
        logs[-1] = LogPart(logs[-1].name, end)
        generations = [*self.manifest.generations[:-1], replace(generation, logs=logs)]
        changed = replace(self.manifest, generations=generations, log_open=True)
        return changed, Place(generation.snapshot, logs[-1].name, end)

    def _checkpointed(self, memory: Memory) -> tuple[Manifest, Place]:
        tables = _tables(memory)
        if any(len(table.fresh) for table in tables):
            self._settle(tables)
        path = self.folder.new("snapshot")
        save_snapshot(memory, path, self.folder.disk)
        physical = [table.physical for table in tables]
        generation = Generation(path.name, physical)
        earlier = self._within_history(self.manifest.generations)
        self.folder.disk.sync(self.folder.path)
        changed = replace(
            self.manifest,
            generations=[*earlier, generation],
            segments=[segment.entry for segment in self.segments],
            log_open=False,
        )
        return changed, Place(path.name, "", 0)

    def _within_history(self, generations: list[Generation]) -> list[Generation]:
        left = self.limits.history
        kept: list[Generation] = []
        for generation in reversed(generations):
            left -= self.folder.size(generation)
            if left < 0:
                break
            kept.insert(0, generation)
        return kept

    def _settle(self, tables: list[MappedTable]) -> None:
        """Write the rows in memory into a segment, joined with the last one where that is small."""
        last = self.segments[-1] if self.segments else None
        absorbed = int(last is not None and last.whole and last.file.length < self.limits.segment)
        bounds = [(table.mapped, len(table)) for table in tables]
        segment = self.folder.write_segment(tables, absorbed, bounds)
        for layer, table in enumerate(tables):
            part = Part(segment.file, layer, segment.entry.rows[layer])
            table.settled(part, absorbed)
        self.segments = [*self.segments[: len(self.segments) - absorbed], segment]

    def rewrite(self, memory: Memory) -> None:
        """Write segments with rows that have left anew, so that nothing of those stays behind."""
        tables = _tables(memory)
        starts = [0] * len(tables)
        made: list[Segment] = []
        for at, segment in enumerate(self.segments):
            left = [table.left_in(at) for table in tables]
            bounds = [(start, start + rows) for start, rows in zip(starts, left, strict=True)]
            starts = [stop for _, stop in bounds]
            if segment.whole and left == segment.entry.rows:
                made.append(segment)
            elif any(left):
                made.append(self.folder.write_segment(tables, 0, bounds))
        self.segments = made
        for layer, table in enumerate(tables):
            table.rewritten([Part(s.file, layer, s.entry.rows[layer]) for s in made])

    def _finish(self, prepared: _Prepared, changed: Manifest, place: Place, what: str) -> None:
        """The journal's part of a commit, then the manifest."""
        before = self.manifest
        changed = replace(
            changed,
            commit=before.commit + 1,
            writes=prepared.writes,
            tokens=prepared.tokens,
            waiting=prepared.waiting,
            changed=now(),
        )
        numbers = (changed.commit, changed.changed, changed.writes, changed.tokens, changed.waiting)
        commit = Commit(*numbers, what, place)
        waits = [
            lambda: self.journal.add(commit, prepared.passages, before.writes),
            lambda: changed.save_aside(self.folder.path, self.folder.disk),
        ]
        if place.log and self._sink is not None:
            waits.append(self._sink.flush)
        self.folder.disk.together(*waits)
        changed.settle(self.folder.path, self.folder.disk)
        self._saved(changed)

    def _saved(self, changed: Manifest) -> None:
        self.folder.residency.files = [segment.file for segment in self.segments]
        before, self.manifest = self.manifest, changed
        if changed.files() != before.files():
            if not changed.log_open:
                self._close_log()
            self.folder.tidy(changed, {segment.entry.name for segment in self.segments})


def kept_commits(journal: Journal, manifest: Manifest) -> list[Commit]:
    """The states that can be gone back to, oldest first; the last is the present."""
    kept = {generation.snapshot for generation in manifest.generations}
    return [one for one in journal.commits(manifest.commit) if one.place.snapshot in kept]


def _tables(memory: Memory) -> list[MappedTable]:
    found = [] if memory.long_term is None else memory.long_term.tables
    assert all(isinstance(table, MappedTable) for table in found)
    return found  # type: ignore[return-value]
