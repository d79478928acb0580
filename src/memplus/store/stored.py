"""A memory that is kept: writes last when they return, rows are read where they lie.

To everything that reads or writes memories it is a ``Memory``; ``fork()`` of it is a plain one
that shares its rows. ``MemoryStore`` makes and opens them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from memplus.errors import ReadOnlyMemoryError, UsageError
from memplus.memory.forgetting import Forgotten
from memplus.memory.guards import changing
from memplus.memory.long_term import LongTermPool
from memplus.memory.packing import RowKind
from memplus.memory.records import NewRows, Passage, WriteRecord
from memplus.memory.rows import RowTable
from memplus.memory.state import Memory
from memplus.memory.written_text import require_text
from memplus.store.erasing import (
    chosen_or_matching,
    erase,
    erase_and_rewrite,
    remove_leftovers,
)
from memplus.store.history import sought_state
from memplus.store.mapped import MappedTable
from memplus.store.opened import OpenedMemory
from memplus.store.snapshot import Logged

__all__ = ["StoredMemory"]


class StoredMemory(OpenedMemory):
    """A memory in a ``MemoryStore``. Close it, or use it in a ``with`` block.

    Where the disk refuses a write, the memory goes back to what is on the disk, and the error
    says so; nothing that was acknowledged is lost. Once it is closed it only tells its numbers.
    """

    keeps_text = True
    _for_users = (
        f"{Memory._for_users} id closed close flush held_labels history "
        "limit has_label labelled rollback reload"
    )

    # What a write calls -------------------------------------------------------------------------

    def long_term_of(self, tables: Sequence[RowTable], rows: RowKind | None = None) -> LongTermPool:
        """A pool whose rows may lie in segments."""
        mapped = [
            table if isinstance(table, MappedTable) else MappedTable([], table) for table in tables
        ]
        return super().long_term_of(mapped, rows)

    def before_write(self) -> None:
        """Refuse a write before any work is done.

        Raises:
            ReadOnlyMemoryError: it was opened for reading, or is closed (``ClosedMemoryError``).
            UsageError: a call of this thread that writes it has not returned.
            MemoryMismatchError: the model's weights have changed since it was opened.
            StorageError: the disk refused an earlier write whose call had returned already.
            LeaseLostError: another writer has taken the memory over; it is closed.
        """
        self._require_open()
        if not self.keeper.writable:
            raise ReadOnlyMemoryError(self.id, reason="it was opened for reading")
        with changing(self):  # what recovers takes nothing of another thread's call away
            self._require_open()
            self.committing.require_no_call()
            self.committing.raise_refused()
            self.committing.require_held()
            self.require_weights()

    def check_source(self, source: str) -> None:
        """Refuse a source's name before any work is done.

        Raises:
            BrokenTextError: it holds half a character, as names of files in other encodings do.
        """
        require_text(source, "The name of the source")

    def wrote(self, rows: NewRows, record: WriteRecord, drop: Tensor | None, said: Passage) -> None:
        """Note what a write made."""
        if self.committing.recording:
            hidden = rows.hidden.detach().cpu()
            dropped = None if drop is None else drop.cpu().int()
            self.committing.record(Logged(record, said, hidden, dropped))

    def commit(self) -> None:
        """Make what was written last, now or within the store's window.

        Raises:
            StorageError: the disk refused; the memory is what it was before.
        """
        with self.guards.state:
            self.committing.commit()

    def flush(self) -> None:
        """Make everything last now; in a block of ``labelled``, its end does so.

        While the memory is being written, by another thread or by the call whose callback this
        is, the calls that have returned are made to last: the running one is whole or not there.

        Raises:
            StorageError: the disk refused; the memory is what it was at the last commit, or will
                be at the end of the running call.
        """
        alone = self.guards.writing.acquire(blocking=False)  # waits for no text, nor for itself
        try:
            with self.guards.state:
                if alone and not self.committing.within_call:
                    self.committing.flush()
                else:
                    self.committing.flush_calls()
        finally:
            if alone:
                self.guards.writing.release()

    def limit(self, max_bytes: int | None) -> None:
        """Refuse writes that would make the memory larger from now on; lasts with the next write.

        Args:
            max_bytes: None: no limit.
        """
        if max_bytes != self.max_bytes:
            self.max_bytes = max_bytes
            self.keeper.pending.leave_log()  # a log has no place for it

    # Packing, going back and forgetting ---------------------------------------------------------

    @contextmanager
    def _by_itself(self) -> Iterator[None]:
        """A change of its own, after everything that was written."""
        with changing(self), self.committing.lock:
            self.committing.require_no_block()
            self.committing.flush()
            yield

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def pack(self, rows: Literal["int8", "int4", "int2"] = "int8") -> None:
        """Keep long-term rows in 8, 4 or 2 bits; earlier states are given up.

        All rows, packed, lie in RAM meanwhile.

        Raises:
            UsageError: there is no such way, the rows are in fewer bits already, or a block of
                ``labelled`` has not ended.
            StorageError: the disk refused; nothing was changed.
        """
        self.before_write()
        with self._by_itself():
            before = self.version

            def pack() -> None:
                super(StoredMemory, self).pack(rows)
                if self.version != before:
                    self.keeper.commit_packed(self)

            self.committing.change_disk(pack)

    def rollback(self, to_write: int | None = None, *, commit: int | None = None) -> None:
        """Be exactly what it was after a write or a commit; what came later is gone.

        Args:
            to_write: id of the last write of a call; 0 is the beginning. Of several states that
                differ only in what waits in the tail it names the last.
            commit: ``Commit.number`` of an entry of ``history``, which names every state.

        Raises:
            HistoryError: no such state is kept.
            UsageError: both are given, or neither; a block of ``labelled`` has not ended.
            StorageError: the disk refused; nothing was changed.
        """
        self.before_write()
        with self._by_itself():
            with self.committing.journal() as journal:
                sought = sought_state(journal, self.keeper.manifest, to_write, commit)

            def go_back() -> None:
                self.keeper.go_back(sought)
                self.load_kept()

            self.committing.change_disk(go_back)

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
            write: ids of writes; none, with ``rebuild``, to write all again and forget nothing.
            match: writes whose text holds this (whatever the case), or matches this expression.
            rebuild: write all others again, at the chunk borders of then: the memory is the one
                that never saw them, to the last bit, with writes numbered anew.

        Raises:
            UnknownSourceError: nothing was written under that name; says which sources there are.
            UsageError: nothing is named, a write is unknown, no text matches, or a block of
                ``labelled`` has not ended.
            StorageError: the disk refused; nothing was changed.
        """
        self.before_write()
        if source is None and write is None and match is None:
            raise UsageError("Name a source, writes or a text to forget.")
        with self._by_itself():
            chosen = chosen_or_matching(self, source, write, match)
            if not (chosen.writes or chosen.tail or rebuild):
                return Forgotten((), 0, 0, 0)
            forgotten: list[Forgotten] = []

            def forget() -> None:
                if rebuild:
                    held = self.committing.held()
                    done = erase_and_rewrite(self, self.keeper, chosen, self.host, held)
                else:
                    done = erase(self, self.keeper, chosen)
                forgotten.append(done)

            self.committing.change_disk(forget)
            remove_leftovers(self.keeper)
            return forgotten[0]
