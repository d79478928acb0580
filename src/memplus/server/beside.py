"""What ``server.db`` keeps of memories, and what becomes of it when a memory is changed.

The one place for that, whoever changes the memory: a route, a tool or a command, while a server
runs and while none does. A change that takes something away is noted before it is made. Whatever
ends the process then, the next one that opens the file finds the note, looks whether the memory was
changed, and ends what is left to do: no text stays here that its memory was made to forget.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from memplus.errors import MemoryExistsError, MemplusError, UnknownMemoryError, UsageError
from memplus.server import calls, intake, keys, ledger, vault
from memplus.server.calls import Calls
from memplus.server.database import ServerDatabase
from memplus.server.erasure import Choice, choose
from memplus.server.intake import Intake
from memplus.server.ledger import Ledger
from memplus.server.notes import Notes
from memplus.server.settings import ServerSettings
from memplus.store.enclosed import enclosed
from memplus.store.manifest import Manifest

if TYPE_CHECKING:
    from memplus.store import StoredMemory
    from memplus.store.sharded import AnyStore

__all__ = ["SCHEMA", "Beside", "Change"]

SCHEMA = (
    keys.SCHEMA
    + vault.SCHEMA
    + intake.SCHEMA
    + calls.SCHEMA
    + ledger.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, stored TEXT NOT NULL, journal TEXT NOT NULL,
    upto INTEGER NOT NULL, change TEXT NOT NULL
) STRICT;
"""
)


@dataclass(frozen=True)
class Change:
    """Something that is taken away from a memory, or all of it written again."""

    what: Literal["delete", "forget", "rewrite", "rollback"]
    source: str | None = None
    """Forgotten: the source, where one was named."""
    match: str | None = None
    """Forgotten: the words, where some were named."""
    left: tuple[tuple[str, int, int], ...] = ()
    """After forgetting or writing again: (source, first token, tokens) of what stays."""
    anew: bool = False
    """Whether tokens are counted anew, as after ``rebuild``."""

    @classmethod
    def forgetting(
        cls, choice: Choice, source: str | None, match: str | None, *, rebuild: bool = False
    ) -> Change:
        """What ``StoredMemory.forget`` is about to do, given the same."""
        forgets = choice.texts or choice.tail_tokens or not (source is None and match is None)
        return cls("forget" if forgets else "rewrite", source, match, choice.left, anew=rebuild)


@dataclass(frozen=True)
class _Note:
    """A change as it is noted, so that what it asks for may be done once or again."""

    what: str
    source: str | None
    match: str | None
    places: dict[str, tuple[int, int]]
    """Where calls lie after it; see ``Calls.places``."""
    anew: bool

    @classmethod
    def read(cls, text: str) -> _Note:
        """A note as it is kept; those of earlier releases say nothing of calls."""
        kept = json.loads(text)
        places, anew = kept.get("places", {}), kept.get("anew", False)
        return cls(kept["what"], kept["source"], kept["match"], places, anew)


class Beside:
    """All that is kept of memories beside the store.

    Every method may raise ``StorageError``.

    Args:
        store: the memories.
        database: where it is kept.
        intake: brings what was acknowledged to its memories.
        settings: how much is kept, how long.

    Attributes:
        calls: that wrote.
        ledger: of chats.
        intake: as given.
    """

    def __init__(
        self, store: AnyStore, database: ServerDatabase, intake: Intake, settings: ServerSettings
    ) -> None:
        self._store = store
        self._database = database
        self.intake = intake
        self.calls = Calls(database, settings.response_days)
        self.ledger = Ledger(database, settings)

    # Nothing is taken away ----------------------------------------------------------------------

    def made(self, stored: str) -> None:
        """A memory is about to be made; a program that knows no server may have deleted one of its
        name, or a process that does was killed before it had ended that.

        Texts that came before such a change was noted were for the earlier memory. Others wait for
        this one, which may be made to take them in.
        """
        query = "SELECT number, upto FROM changes WHERE stored = ?"
        for row in self._database.rows(query, (stored,)):
            self.intake.drop(stored, row["upto"])
            self.cancel(row["number"])
        self.intake.drop_lost(stored)
        self.ledger.begin_anew(stored)
        self.calls.drop(stored)

    @contextmanager
    def forking(self, stored: str, new: str) -> Iterator[None]:
        """A block in which a memory is forked, when there is none of the new name and no other
        process may make one.

        Copied before, so that no fork is ever without it, and once more behind, since the memory
        may have been written to meanwhile; what the fork does not hold counts for nothing.
        """
        self.made(new)
        self._copy(stored, new)
        try:
            yield
        except BaseException:
            self.made(new)
            raise
        self._copy(stored, new)

    def _copy(self, stored: str, new: str) -> None:
        self.calls.fork(stored, new)
        self.ledger.fork(stored, new)

    def export(self, stored: str, path: Path) -> None:
        """Write a memory to one file, with its metadata and those of its writes.

        Raises:
            UnknownMemoryError, CorruptMemoryError: see ``MemoryStore.export``.
        """
        calls = self.calls.noted(stored)
        held = self._store.held_labels(stored, [one.id for one in calls])
        row = self._database.row("SELECT metadata FROM memories WHERE stored = ?", (stored,))
        metadata = {} if row is None else json.loads(row["metadata"])
        notes = Notes(metadata, [one for one in calls if one.id in held])
        self._store.export(stored, path, notes=notes.content())

    def import_memory(self, path: Path, stored: str) -> Manifest:
        """Add a memory from a file of ``export``, and what is noted in it.

        Raises:
            MemoryExistsError, NotAnExportError, CorruptMemoryError, MemoryVersionError: see
                ``MemoryStore.import_memory``.
        """
        if stored in self._store:
            raise MemoryExistsError(stored, store=self._store.paths[0])
        notes = Notes.of(enclosed(path).notes, path)
        ids = [one.id for one in notes.calls]

        @contextmanager
        def within() -> Iterator[None]:
            self.made(stored)
            for one in notes.calls:  # those whose labels are not there count for nothing
                self.calls.add(stored, one)
            try:
                yield
            except BaseException:
                self.calls.drop(stored)
                raise
            self.calls.remove(stored, set(ids) - self._store.held_labels(stored, ids))
            with self._database.transaction() as run:
                run.execute(
                    "INSERT INTO memories VALUES (?, ?, 0) ON CONFLICT (stored) DO UPDATE "
                    "SET metadata = excluded.metadata",
                    (stored, json.dumps(notes.metadata)),
                )

        return self._store.import_memory(path, stored, within=within)

    # Something is taken away --------------------------------------------------------------------

    def delete(self, stored: str, *, wait: float | None = 0.0) -> None:
        """Delete a memory and all that is kept of it.

        Raises:
            UnknownMemoryError, MemoryBusyError: see ``MemoryStore.delete``.
        """
        within = partial(self.changing, stored, Change("delete"))
        self._store.delete(stored, wait=wait, within=within)

    def roll_back(
        self, stored: str, to_write: int | None, commit: int | None, *, wait: float | None = 0.0
    ) -> None:
        """Make a memory that nobody has open what it was after a write or a commit.

        Texts that wait for it go as well: they came later than that state.

        Raises:
            HistoryError, UsageError, UnknownMemoryError, MemoryBusyError: see
                ``MemoryStore.rollback``.
        """
        within = partial(self.changing, stored, Change("rollback"))
        self._store.rollback(stored, to_write, commit=commit, wait=wait, within=within)

    @contextmanager
    def changing(self, stored: str, change: Change) -> Iterator[dict[str, int]]:
        """A block in which a memory is changed by whoever may write to it; what is kept of it
        follows at its end.

        Gives how many of what went, empty until then.
        """
        gone: dict[str, int] = {}
        self.settle(stored)
        number = self.begin(stored, change)
        try:
            yield gone
        finally:
            gone |= self.finish(number)

    def settle(self, stored: str) -> None:
        """End what a process that was ended left of its change of a memory.

        To be called by whoever alone may write to the memory, before it is changed: only until
        then does its journal tell whether that change was made.
        """
        query = "SELECT number FROM changes WHERE stored = ? ORDER BY number"
        for row in self._database.rows(query, (stored,)):
            self.finish(row["number"])

    def begin(self, stored: str, change: Change) -> int:
        """Note a change before it is made; the number of the note."""
        tenant, _, memory = stored.rpartition("/")
        journal, places = self._journal(stored), {}
        if change.what in ("forget", "rewrite"):
            places = self.calls.places(stored, change.left, anew=change.anew)
        note = _Note(change.what, change.source, change.match, places, change.anew)
        with self._database.transaction() as run:
            (upto,) = run.execute(
                "SELECT coalesce(max(number), 0) FROM intake WHERE tenant = ? AND memory = ?",
                (tenant, memory),
            ).fetchone()
            noted = run.execute(
                "INSERT INTO changes (stored, journal, upto, change) VALUES (?, ?, ?, ?)",
                (stored, journal, upto, json.dumps(asdict(note))),
            )
        return int(noted.lastrowid or 0)

    def finish(self, number: int) -> dict[str, int]:
        """Let what is kept follow a change, if it was made, and note it no more.

        Returns:
            How many of what went.
        """
        gone = self._followed(number)
        self.cancel(number)
        return gone or {}

    def cancel(self, number: int) -> None:
        """A change was not made."""
        with self._database.transaction() as run:
            run.execute("DELETE FROM changes WHERE number = ?", (number,))
        self._database.scrub()  # it may tell what was to be forgotten

    def finish_all(self) -> None:
        """End what processes that were ended have left; to be called before anything is written."""
        for row in self._database.rows("SELECT number FROM changes ORDER BY number"):
            if self._followed(row["number"]) is not None:  # otherwise others may be at it
                self.cancel(row["number"])

    def _followed(self, number: int) -> dict[str, int] | None:
        """How many of what went; None where the change was not made, or is noted no more."""
        row = self._database.row(
            "SELECT stored, journal, upto, change FROM changes WHERE number = ?", (number,)
        )
        if row is None:
            return None
        note, journal = _Note.read(row["change"]), self._journal(row["stored"])
        made = not journal if note.what == "delete" else journal != row["journal"]
        return self._follow(row["stored"], note, row["upto"]) if made else None

    def _journal(self, stored: str) -> str:
        """The name of the memory's journal, which each forgetting and each way back makes anew;
        empty where there is no memory."""
        try:
            return self._store.manifest(stored).journal
        except UnknownMemoryError:
            return ""
        except MemplusError:
            return "?"  # it is damaged, and is deleted all the same

    def _follow(self, stored: str, note: _Note, upto: int) -> dict[str, int]:
        if stored not in self._store:
            self._drop(stored)
            return {}
        if note.what == "rollback":
            self.intake.leave(stored, upto)
            self.ledger.go_back(stored)
            self.calls.keep(stored, self._store.held_labels(stored, self.calls.ids(stored)))
            return {}
        self.calls.put(stored, note.places, anew=note.anew)
        rewritten = note.what == "rewrite"
        gone = {} if rewritten else self.forget_beside(stored, note.source, note.match)
        self.intake.retry(stored)  # there may be room for what is left
        return gone

    def chosen(
        self,
        memory: StoredMemory,
        source: str | None,
        write: int | Iterable[int] | None,
        match: str | None,
    ) -> Choice | None:
        """What a memory would forget; None: nothing of it, and what is kept beside it holds what
        is named: texts that it could not take, or answers and conversations.

        Raises:
            UnknownSourceError, UsageError: something that is named is nowhere.
        """
        try:
            return choose(memory, source, write, match)
        except UsageError:
            alone = write is None and (source is None or match is None)
            if alone and self.intake.named(memory.id, source, match):
                return None
            if alone and match is not None and self.ledger.names(memory.id, match):
                return None
            raise

    def kept_beside(self, stored: str, source: str | None, match: str | None) -> dict[str, int]:
        """How many of what ``forget_beside``, given the same, would forget."""
        refused = len(self.intake.named(stored, source, match))
        return {"refused_texts": refused, **self.ledger.kept(stored)}

    def forget_beside(self, stored: str, source: str | None, match: str | None) -> dict[str, int]:
        """Forget what is kept of chats, and texts that the memory could not take; how many."""
        refused = self.intake.forget(stored, source, match)
        return {"refused_texts": refused, **self.ledger.forget(stored)}

    def _drop(self, stored: str) -> None:
        self.intake.drop(stored)
        self.calls.drop(stored)
        with self._database.transaction() as run:
            run.execute("DELETE FROM memories WHERE stored = ?", (stored,))
        self.ledger.drop(stored)
