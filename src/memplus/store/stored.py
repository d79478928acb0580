"""A memory that is kept: writes last when they return, rows are read where they lie.

To everything that reads or writes memories it is a ``Memory``; ``fork()`` of it is a plain one
that shares its rows. ``MemoryStore`` makes and opens them.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType

import torch
from torch import Tensor

from memplus.errors import (
    CorruptMemoryError,
    MemplusError,
    ReadOnlyMemoryError,
    StorageError,
    UsageError,
)
from memplus.errors.base import storage_error
from memplus.memory.forgetting import Forgotten, chosen_writes, forget_rows
from memplus.memory.long_term import LongTermPool
from memplus.memory.records import NewRows, Passage, WriteRecord
from memplus.memory.rows import RowTable
from memplus.memory.state import Memory, MemoryHost
from memplus.memory.turns import changing
from memplus.memory.written_text import WrittenText, require_text
from memplus.store.history import kept_commits
from memplus.store.journal import Commit
from memplus.store.keeper import Keeper
from memplus.store.locks import Lock
from memplus.store.mapped import MappedTable
from memplus.store.matching import matching
from memplus.store.pending import Prepared
from memplus.store.snapshot import Logged

__all__ = ["StoredMemory"]

_VALUES = (
    *("seed", "max_bytes", "config", "pool", "clock", "writes", "version", "generator"),
    *("tail", "tail_source", "tail_text", "source_tokens", "packed"),
)


class StoredMemory(Memory):
    """A memory in a ``MemoryStore``. Close it, or use it in a ``with`` block.

    Where the disk refuses a write, the memory goes back to what is on the disk, and the error
    says so; nothing that was acknowledged is lost.
    """

    keeps_text = True

    def __init__(
        self, host: MemoryHost, keeper: Keeper, lock: Lock | None, *, window: float = 0.0
    ) -> None:
        super().__init__(host, 0)
        self.host = host
        self.keeper = keeper
        self.window = window
        self._lock = lock
        self._turn = threading.RLock()
        self._recording = False
        self._committed = -1
        self._refused: Exception | None = None
        self._timer: threading.Timer | None = None
        self._since = 0.0
        self._prepared: Prepared | None = None
        self._closed = False
        self._holding = False

    @property
    def id(self) -> str:
        """Its name in the store."""
        return self.keeper.manifest.id

    @property
    def stale(self) -> bool:
        """Whether its rows cannot be used: closed, or made by weights that are gone."""
        if self._closed:
            raise ReadOnlyMemoryError(self.id, reason="it is closed")
        return super().stale

    @classmethod
    def adopt(cls, memory: Memory, keeper: Keeper, host: MemoryHost) -> None:
        """Keep a memory that was made elsewhere; it must be opened anew to be written to."""
        kept = cls(host, keeper, None)
        kept._become(memory)
        keeper.commit(kept, "create")

    def _become(self, memory: Memory) -> None:
        """Take over another memory's whole content."""
        for name in _VALUES:
            setattr(self, name, getattr(memory, name))
        self.derived.clear()
        self.long_term = None
        if memory.long_term is not None:
            self.long_term = self.long_term_of(memory.long_term.fork().tables)
            self.long_term.waiting = memory.long_term.waiting
            self.long_term.writes_since_merge = memory.long_term.writes_since_merge

    # Opening and closing ------------------------------------------------------------------------

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def reload(self) -> None:
        """Become what is on the disk."""
        self._recording = False
        version = self.version
        self.keeper.load(self, self.host.new_rows)
        self.version = max(self.version, version + 1)
        self.weights_version = self.host.weights_version
        self._committed = self.version
        self._recording = self.keeper.writable

    def close(self) -> None:
        """Make everything last, and let others write.

        Raises:
            StorageError: the disk refused what was not yet written.
        """
        with changing(self):
            if self._closed:
                return
            try:
                self.flush()
            finally:
                self._closed = True
                self.keeper.close()
                if self._lock is not None:
                    self._lock.release()

    def __enter__(self) -> StoredMemory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What a write calls -------------------------------------------------------------------------

    def long_term_of(self, tables: Sequence[RowTable]) -> LongTermPool:
        """A store whose rows may lie in segments."""
        mapped = [
            table if isinstance(table, MappedTable) else MappedTable([], table) for table in tables
        ]
        return super().long_term_of(mapped)

    def before_write(self) -> None:
        """Refuse a write before any work is done.

        Raises:
            ReadOnlyMemoryError: it was opened for reading, or is closed.
            StorageError: the disk refused an earlier write whose call had returned already.
        """
        if self._closed:
            raise ReadOnlyMemoryError(self.id, reason="it is closed")
        if not self.keeper.writable:
            raise ReadOnlyMemoryError(self.id, reason="it was opened for reading")
        with self.turns.state, self._turn:
            if not self._holding:
                self._report()

    def check_source(self, source: str) -> None:
        """Refuse a source's name before any work is done.

        Raises:
            BrokenTextError: it holds half a character, as names of files in other encodings do.
        """
        require_text("The name of the source", source)

    def wrote(self, rows: NewRows, record: WriteRecord, drop: Tensor | None, said: Passage) -> None:
        """Note what a write made."""
        if not self._recording or self._refused is not None:
            return
        hidden = rows.hidden.detach().cpu()
        written = Logged(record, said, hidden, None if drop is None else drop.cpu().int())
        with self._turn:
            try:
                self.keeper.record(self, written)
            except OSError as error:
                self._refused = error

    def commit(self) -> None:
        """Make what was written last, now or within the window.

        Raises:
            StorageError: the disk refused; the memory is what it was before.
        """
        with self.turns.state, self._turn:
            if self._holding:
                return
            self._report()
            if self.version == self._committed:
                return
            overdue = self._since and time.monotonic() - self._since >= self.window
            if self.window and not overdue and not self.keeper.must_checkpoint:
                self._later()
                return
            self.flush()

    def flush(self) -> None:
        """Make everything last now.

        Raises:
            StorageError: the disk refused; the memory is what it was at the last commit.
        """
        with self.turns.state, self._turn:
            self._report()
            waiting = self._timer is not None
            if not self._recording or (self.version == self._committed and not waiting):
                return
            self._keep(lambda: self.keeper.commit(self))
            self._committed = self.version
            self._at_rest()

    def _later(self) -> None:
        """Let a timer write what is fixed here; the memory may change meanwhile."""
        self._prepared = self.keeper.pending.prepared(self)
        self._committed = self.version
        if self._timer is None:
            self._since = time.monotonic()
            self._timer = threading.Timer(self.window, self._write_prepared)
            self._timer.start()

    def _write_prepared(self) -> None:
        with self._turn:
            if self._timer is None or self._refused is not None:
                return
            self._at_rest()
            assert self._prepared is not None
            try:
                self.keeper.commit_prepared(self._prepared)
            except OSError as error:
                self._refused = error  # whoever calls next is told

    def _at_rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._since = None, 0.0

    def _keep(self, change: Callable[[], None]) -> None:
        """Change the disk, or be what is on it.

        Raises:
            StorageError: it refused.
        """
        try:
            change()
        except OSError as error:
            self._refused = error
            self._report()
        except BaseException:
            self._recover()
            raise

    def _report(self) -> None:
        error, self._refused = self._refused, None
        if error is None:
            return
        self._at_rest()
        self._recover()
        raise storage_error(self.keeper.folder.path, error) from error

    def _recover(self) -> None:
        try:
            self.keeper.reopen()
            self.reload()
        except (OSError, MemplusError):
            self._closed = True
            self.pool = self.long_term = None
            self.keeper.close()
            if self._lock is not None:
                self._lock.release()

    # What the journal knows ---------------------------------------------------------------------

    def texts(self, writes: Iterable[int] | None = None) -> dict[int, WrittenText]:
        """What writes said, by id; forgotten ones are not there.

        Args:
            writes: ids; None: all.

        Raises:
            CorruptMemoryError: the journal was changed by somebody else.
            StorageError: the disk refused to read it.
        """
        upto = self.keeper.manifest.writes
        known = {record.id for record in self.writes if record.tokens}
        wanted = known if writes is None else known & set(writes)
        with self._refusals_named():
            found = self.keeper.journal.texts(sorted(wanted), upto)
        committed = {one for one in wanted if one <= upto}
        if found.keys() != committed:
            missing = min(committed - found.keys())
            raise CorruptMemoryError(self.keeper.journal.path, reason=f"it lacks write {missing}")
        return found

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def forget(
        self,
        *,
        source: str | None = None,
        write: int | Iterable[int] | None = None,
        match: str | re.Pattern[str] | None = None,
        rebuild: bool = False,
    ) -> Forgotten:
        """Take out what some writes left, and their text; earlier states are given up with it.

        Args:
            source: everything written under this name.
            write: ids of writes.
            match: writes whose text holds this (whatever the case), or matches this expression.
            rebuild: write all others again, at the chunk borders of then: the memory is the one
                that never saw them, to the last bit, with writes numbered anew.

        Raises:
            UnknownSourceError: nothing was written under that name; says which sources there are.
            UsageError: nothing is named, a write is unknown, or no text matches.
            StorageError: the disk refused; nothing was changed.
        """
        self.before_write()
        if source is None and write is None and match is None:
            raise UsageError("Name a source, writes or a text to forget.")
        with changing(self), self._turn:
            self.flush()
            chosen = chosen_writes(self, source, write)
            ids, tail = chosen.writes, chosen.tail
            if match is not None:
                found, in_tail = matching(self.texts().values(), self, match)
                if not found and not in_tail:
                    words = match if isinstance(match, str) else match.pattern
                    raise UsageError(f"Nothing that was written holds {words!r}.")
                ids, tail = ids | found, tail or in_tail
            if not ids and not tail:
                return Forgotten((), 0, 0, 0)
            forgotten: list[Forgotten] = []
            self._keep(lambda: forgotten.append(self._forget(ids, tail=tail, rebuild=rebuild)))
            self._committed = self.version
            self._leave_nothing()
            return forgotten[0]

    def _leave_nothing(self) -> None:
        """Remove the files that still hold what was forgotten."""
        folder = self.keeper.folder
        try:
            folder.collect(self.keeper.manifest)
        except OSError as error:
            reason = f"it is forgotten, but a file that held it could not be removed ({error})"
            raise StorageError(folder.path, reason=reason) from error

    def _forget(self, ids: set[int], *, tail: bool, rebuild: bool) -> Forgotten:
        others = [text for text in self.texts().values() if text.id not in ids]
        done = forget_rows(self, ids, tail=tail)
        if not rebuild:
            self.keeper.commit_without(self, ids)
            return done
        waiting = (self.tail, self.tail_source, self.tail_text)
        version = self.version
        self.keeper.begin_anew()
        fresh = self.host.new_memory(self.seed, max_bytes=self.max_bytes)
        if self.packed:
            fresh.pack()
        self._become(fresh)
        self._holding = True
        try:
            self.host.replay(self, [(one.source, Passage(one.ids, one.text)) for one in others])
        finally:
            self._holding = False
        if self._refused is not None:
            error, self._refused = self._refused, None
            raise error
        self.tail, self.tail_source, self.tail_text = waiting
        self.version = max(self.version, version) + 1
        self.keeper.commit_anew(self)
        return done

    def history(self) -> list[Commit]:
        """The states that ``rollback`` can go back to, oldest first; the last is the present.

        Raises:
            CorruptMemoryError, StorageError: as ``texts``.
        """
        with self._refusals_named():
            return kept_commits(self.keeper.journal, self.keeper.manifest)

    @contextlib.contextmanager
    def _refusals_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(self.keeper.folder.path, error) from error

    def rollback(self, to_write: int) -> None:
        """Be exactly what it was after a write; what came later is gone.

        Args:
            to_write: id of the last write of a call; 0 is the beginning.

        Raises:
            HistoryError: no state after that write is kept.
            StorageError: the disk refused; nothing was changed.
        """
        self.before_write()
        with changing(self), self._turn:
            self.flush()
            if all(commit.writes != to_write for commit in self.history()):
                self.keeper.go_back(to_write)  # says which states are kept
            self._keep(lambda: self.keeper.go_back(to_write))
            self.reload()
