"""How a memory's changes reach the disk: a log of writes, now and then a checkpoint.

A commit is one record at the end of the log, one transaction of the journal, and a new manifest
renamed into place; only the last makes it exist. Once the log is long, or where one call wrote
more than a log should hold, the commit is a checkpoint instead: rows go into a segment, the rest
into a snapshot, and the next commit begins a new log. Whatever fails on the way leaves the
manifest, and with it the memory, as it was.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from memplus.errors import LeaseLostError
from memplus.memory.bounds import example_rows
from memplus.memory.state import Memory
from memplus.store.blocks import Container, read_records
from memplus.store.container_contents import Expected, check_segment
from memplus.store.folder import Folder, parts_of
from memplus.store.history import kept_generations, manifest_at, nothing_behind
from memplus.store.journal import Commit, Journal, Place, now
from memplus.store.limits import Limits
from memplus.store.manifest import NAME, Generation, Hold, LogPart, Manifest, retire
from memplus.store.pending import Pending, Prepared
from memplus.store.segments import Segments, long_term_tables, waiting_bytes
from memplus.store.snapshot import (
    Logged,
    RowsOf,
    append_record,
    replay_record,
    restore,
    save_snapshot,
)
from memplus.store.written_rows import NOTHING, Erased

__all__ = ["Keeper"]


class Keeper:
    """Keeps one memory.

    Every method may raise ``OSError``: the disk refused, and the manifest is the one before, or,
    where only its last step failed, already the new one.

    Args:
        folder: where.
        manifest: what is there.
        limits: when what goes where.
        writable: whether anything may be changed.

    Raises:
        FileNotFoundError: the journal is gone: another process has changed the memory since.
        CorruptMemoryError: the journal is damaged.
    """

    def __init__(
        self, folder: Folder, manifest: Manifest, limits: Limits, *, writable: bool
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.limits = limits
        self.writable = writable
        self.journal = Journal(folder.path / manifest.journal, folder.disk, writable=writable)
        self.segments = Segments(folder, limits.segment)
        self.pending = Pending()
        self._snapshot = "", 0
        self._followed: list[Manifest] = []

    @property
    def lost(self) -> bool:
        """Whether another writer is known to have taken the memory over."""
        hold = self.manifest.hold
        if hold is None or not self.writable:
            return False
        following = replace(self.manifest, hold=hold.next())
        return os.path.lexists(self.folder.path / following.place)

    def close(self) -> None:
        """Give up files; nothing is written."""
        self.pending.clear()
        self.segments.clear()
        self.journal.close()

    def reopen(self, found: Manifest | None = None) -> None:
        """Begin anew with what the disk says, or with ``found`` if that was read there already.

        Raises:
            LeaseLostError: another writer has taken the memory over.
            CorruptMemoryError: it cannot be read.
        """
        self.journal.close()
        self.pending.clear()
        found = found or Manifest.load(self.folder.path)
        if self.writable and _writer(found) != _writer(self.manifest):
            raise LeaseLostError(self.manifest.id)
        self.manifest = found
        path = self.folder.path / self.manifest.journal
        self.journal = Journal(path, self.folder.disk, writable=self.writable)
        if self.writable:
            self.folder.tidy(self.manifest)

    def load(self, memory: Memory, new_rows: RowsOf) -> None:
        """Make a memory what the manifest says; ``new_rows`` projects hidden vectors [L, k, d].

        Raises:
            FileNotFoundError: a file is gone: another process has changed the memory since.
            CorruptMemoryError, MemoryVersionError.
        """
        owner = memory.owner
        expected = Expected(memory.config, example_rows(owner, new_rows), owner.vocabulary)
        segments = self.segments.load(self.manifest)
        generation = self.manifest.current
        snapshot = Container.open(self.folder.path / generation.snapshot)
        tensors = restore(memory, snapshot, parts_of(segments, generation.physical), expected)
        for segment in segments:
            check_segment(segment.file, segment.entry, tensors, memory.config)
        for part in generation.logs:
            for record in read_records(self.folder.path / part.name, part.length):
                replay_record(memory, record, new_rows, expected)

    # Writes -------------------------------------------------------------------------------------

    def record(self, memory: Memory, written: Logged) -> None:
        """A write has become rows; they are on the disk once a commit has returned.

        Rows that no longer fit in RAM go to a segment at once, which the next commit makes exist.
        """
        self.pending.add(written)
        if self.pending.nbytes > self._allowed(self.limits.log):
            self.pending.leave_log()
        if waiting_bytes(long_term_tables(memory)) > self._allowed(self.limits.segment):
            self.segments.move_rows(memory)
            self.pending.leave_log()

    def _allowed(self, least: int) -> int:
        """Bytes that may wait for a checkpoint."""
        name = self.manifest.current.snapshot if self.manifest.generations else ""
        if self._snapshot[0] != name:
            self._snapshot = name, 0
            with contextlib.suppress(FileNotFoundError):  # somebody took it away; reading says so
                self._snapshot = name, (self.folder.path / name).stat().st_size
        return max(least, int(self.limits.snapshots * self._snapshot[1]))

    @property
    def must_checkpoint(self) -> bool:
        """Whether the next commit needs the memory itself, not only what was recorded."""
        if self.pending.beyond_log or not self.manifest.generations:
            return True
        waiting = self.pending.nbytes + self.manifest.current.logged
        return waiting > self._allowed(self.limits.log)

    def commit(self, memory: Memory, what: str = "write") -> None:
        """Make the memory as it is last."""
        if self.must_checkpoint:
            self._checkpoint(memory, what)
        else:
            self.commit_prepared(self.pending.prepared(memory), what)

    def commit_prepared(self, prepared: Prepared, what: str = "write") -> None:
        """Make what was prepared last, in the log."""
        generation = self.manifest.current
        logs = list(generation.logs)
        sink, part = self.folder.open_log(self.manifest)
        with contextlib.closing(sink):
            if part is None:
                self.folder.disk.sync(self.folder.path)
                logs.append(LogPart(sink.path.name, 0))
            end = append_record(sink, logs[-1].length, prepared.record)
            logs[-1] = LogPart(logs[-1].name, end)
            generations = [*self.manifest.generations[:-1], replace(generation, logs=logs)]
            changed = replace(self.manifest, generations=generations, log_open=True)
            place = Place(generation.snapshot, logs[-1].name, end)
            self._put_in_place(prepared, changed, (what, place), sink.flush)
        self.pending.committed(prepared)

    def _checkpoint(self, memory: Memory, what: str) -> None:
        """Put the whole state into a new generation; earlier ones stay as history."""
        changed = self._with_generation(memory)
        self._put_in_place(self.pending.prepared(memory), changed, (what, _place(changed)))
        self.pending.clear()

    def _with_generation(self, memory: Memory) -> Manifest:
        """The manifest with a new snapshot of the memory, which lies on the disk by then."""
        self.segments.move_rows(memory)
        path = self.folder.new("snapshot")
        save_snapshot(memory, path, self.folder.disk)
        physical = [table.physical for table in long_term_tables(memory)]
        earlier = kept_generations(self.folder, self.manifest.generations, self.limits.history)
        self.folder.disk.sync(self.folder.path)
        return replace(
            self.manifest,
            generations=[*earlier, Generation(path.name, physical)],
            segments=self.segments.entries,
            log_open=False,
        )

    # Changes that give up earlier states --------------------------------------------------------

    def commit_without(self, memory: Memory, forgotten: Iterable[int]) -> None:
        """Make the memory, which has lost the rows of some writes, the only state there is.

        Args:
            memory: is what will be kept.
            forgotten: ids of the writes whose text goes.
        """
        self.segments.rewrite(memory)
        last = self.manifest

        def copy(path: Path) -> None:
            numbers = (last.writes, last.commit)
            self._copy_journal(path, *numbers, Erased(set(forgotten), memory.source_tokens))

        self._replace_history(memory, copy)

    def commit_packed(self, memory: Memory) -> None:
        """Make the memory, whose long-term rows all lie in RAM now, the only state there is."""
        last = self.manifest
        self.begin_anew()
        self.manifest = replace(last, rows=memory.rows, segments=[])

        def copy(path: Path) -> None:
            self._copy_journal(path, last.writes, last.commit)

        self._replace_history(memory, copy, "pack")

    def begin_anew(self) -> None:
        """Forget what is there: the next ``commit_anew`` is the whole memory."""
        self.pending.clear()
        self.pending.leave_log()
        self.segments.clear()

    def commit_anew(self, memory: Memory) -> None:
        """Make the memory, all of it written since ``begin_anew``, the only state there is."""
        last = self.manifest.commit

        def copy(path: Path) -> None:
            self._copy_journal(path, 0, last)  # labels stay

        self._replace_history(memory, copy)

    def _replace_history(
        self, memory: Memory, make_journal: Callable[[Path], None], what: str = "forget"
    ) -> None:
        changed = self._with_generation(memory)
        path = self.folder.new("journal")
        make_journal(path)
        self._use_journal(path)
        changed = replace(changed, journal=path.name, generations=changed.generations[-1:])
        prepared = self.pending.prepared(memory)
        self._put_in_place(prepared, changed, (what, _place(changed)))
        self.pending.clear()

    def go_back(self, commit: Commit) -> None:
        """Make a kept state, that of ``commit``, the present one; load the memory anew then."""
        changed, logs = nothing_behind(self.folder, manifest_at(self.manifest, commit))
        path = self.folder.new("journal")
        self._copy_journal(path, commit.writes, commit.number, logs=logs)
        changed = replace(changed, journal=path.name, hold=_following(self.manifest))
        self._use_journal(path)
        changed.save(self.folder.path, self.folder.disk)
        self.segments.clear()  # none of what was taken back is in use
        self._took_place(changed)

    def _copy_journal(
        self,
        path: Path,
        writes: int,
        commits: int,
        without: Erased = NOTHING,
        logs: Mapping[str, str] = {},
    ) -> None:
        shared = self.manifest.hold is not None
        self.journal.copy(
            path, writes=writes, commits=commits, without=without, logs=logs, shared=shared
        )

    def _use_journal(self, path: Path) -> None:
        self.folder.disk.sync(self.folder.path)
        self.journal.close()
        self.journal = Journal(path, self.folder.disk, writable=True)

    # What every commit ends with ----------------------------------------------------------------

    def _put_in_place(
        self,
        prepared: Prepared,
        changed: Manifest,
        entry: tuple[str, Place],
        *waits: Callable[[], None],
    ) -> None:
        """The journal's part of a commit, then the manifest, which makes it exist.

        Args:
            prepared: what the commit holds.
            changed: names its files.
            entry: what was done, and where the state after it is found, for the history.
            waits: for what the disk must have before the manifest says so.
        """
        before = self.manifest
        changed = replace(
            changed,
            commit=max(before.commit, before.numbered) + 1,
            writes=prepared.writes,
            tokens=prepared.tokens,
            waiting=prepared.waiting,
            changed=now(),
            hold=_following(before),
        )
        numbers = (changed.commit, changed.changed, changed.writes, changed.tokens, changed.waiting)
        commit = Commit(*numbers, *entry)
        aside = self.folder.new(f".{NAME}")
        self.folder.disk.together(
            lambda: self.journal.add(commit, prepared.passages, before.writes),
            lambda: changed.save_aside(aside, self.folder.disk),
            *waits,
        )
        changed.settle(aside, self.folder.disk)
        self.folder.known.discard(aside.name)
        self._took_place(changed)

    def _took_place(self, changed: Manifest) -> None:
        before, self.manifest = self.manifest, changed
        if changed.hold is not None:
            self.folder.known |= before.files()
            self._followed.append(before)
            self._retire()
        if changed.files() != before.files():
            self.folder.tidy(changed, {entry.name for entry in self.segments.entries})

    def _retire(self) -> None:
        """Take earlier manifests away, the earliest first; what cannot be done now waits."""
        with contextlib.suppress(OSError):
            while self._followed:
                retire(self._followed[0], self.folder.path, self.folder.disk)
                self._followed.pop(0)


def _following(manifest: Manifest) -> Hold | None:
    return None if manifest.hold is None else manifest.hold.next()


def _writer(manifest: Manifest) -> tuple[str, int] | None:
    """Which writer of which memory has put it in place; None where no lease is held."""
    hold = manifest.hold
    return None if hold is None else (f"{manifest.chain}{hold.session}", hold.epoch)


def _place(changed: Manifest) -> Place:
    """Where the state of a manifest with nothing logged is found."""
    return Place(changed.current.snapshot, "", 0)
