"""What ``server.db`` keeps of memories, and what becomes of it when a memory is changed.

The one place for that, whoever changes the memory: a route, a tool or a command, while a server
runs and while none does. A change that takes something away is noted before it is made. Whatever
ends the process then, the next one that opens the file finds the note, looks whether the memory was
changed, and ends what is left to do: no text stays here that its memory was made to forget.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from memplus.errors import MemoryExistsError, MemplusError, UnknownMemoryError
from memplus.server import calls, intake, keys, ledger, vault
from memplus.server.calls import Calls
from memplus.server.database import ServerDatabase
from memplus.server.intake import Intake
from memplus.server.ledger import Ledger
from memplus.server.notes import Notes
from memplus.server.settings import ServerSettings
from memplus.store.enclosed import enclosed
from memplus.store.manifest import Manifest

if TYPE_CHECKING:
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
    """Something that is taken away from a memory."""

    what: Literal["delete", "forget", "rollback"]
    source: str | None = None
    """Forgotten: the source, where one was named."""
    match: str | None = None
    """Forgotten: the words, where some were named."""
    parts: tuple[tuple[str, int, int], ...] = ()
    """Forgotten: (source, first token, tokens) of what goes."""
    shift: bool = False
    """Whether the tokens behind are counted anew, as after ``rebuild``."""


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
        name."""
        self.ledger.begin_anew(stored)
        self.calls.drop(stored)

    def forked(self, stored: str, new: str) -> None:
        """A memory was forked."""
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
        number = self.begin(stored, change)
        try:
            yield gone
        finally:
            gone |= self.finish(number)

    def begin(self, stored: str, change: Change) -> int:
        """Note a change before it is made; the number of the note."""
        tenant, _, memory = stored.rpartition("/")
        journal = self._journal(stored)
        with self._database.transaction() as run:
            (upto,) = run.execute(
                "SELECT coalesce(max(number), 0) FROM intake WHERE tenant = ? AND memory = ?",
                (tenant, memory),
            ).fetchone()
            noted = run.execute(
                "INSERT INTO changes (stored, journal, upto, change) VALUES (?, ?, ?, ?)",
                (stored, journal, upto, json.dumps(asdict(change))),
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
        change, journal = Change(**json.loads(row["change"])), self._journal(row["stored"])
        made = not journal if change.what == "delete" else journal != row["journal"]
        return self._follow(row["stored"], change, row["upto"]) if made else None

    def _journal(self, stored: str) -> str:
        """The name of the memory's journal, which each forgetting and each way back makes anew;
        empty where there is no memory."""
        try:
            return self._store.manifest(stored).journal
        except UnknownMemoryError:
            return ""
        except MemplusError:
            return "?"  # it is damaged, and is deleted all the same

    def _follow(self, stored: str, change: Change, upto: int) -> dict[str, int]:
        if stored not in self._store:
            self._drop(stored)
            return {}
        if change.what == "rollback":
            self.intake.leave(stored, upto)
            self.ledger.go_back(stored)
            self.calls.keep(stored, self._store.held_labels(stored, self.calls.ids(stored)))
            return {}
        self.calls.forget(stored, change.parts, shift=change.shift)
        if not change.parts and change.source is None and change.match is None:
            return {}  # all was written again and nothing forgotten
        refused = self.intake.forget(stored, change.source, change.match)
        return {"refused_texts": refused, **self.ledger.forget(stored)}

    def _drop(self, stored: str) -> None:
        self.intake.drop(stored)
        self.calls.drop(stored)
        with self._database.transaction() as run:
            run.execute("DELETE FROM memories WHERE stored = ?", (stored,))
        self.ledger.drop(stored)
