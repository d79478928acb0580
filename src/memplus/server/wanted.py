"""Memories that a server asks another of the same directory to let go of."""

from __future__ import annotations

from memplus.server.database import ServerDatabase

__all__ = ["SCHEMA", "Wanted"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS wanted (
    stored TEXT PRIMARY KEY, asked REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
"""
_ADDED = {"asked": "REAL NOT NULL DEFAULT 0"}
"""A column that the first version had not."""
_SECONDS = 60.0
"""Whoever still waits asks again within this time; who does not may have been killed."""


class Wanted:
    """What is asked for, by its name in the store.

    A server that has a memory open for writing keeps it so; it lets go of one that stands here, as
    soon as it is done with what it does. Nothing depends on it: who does not look here lets go
    later, or loses its lease. What nobody asks for again within a minute stands here no more.

    Every method may raise ``StorageError``.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        database.widen("wanted", _ADDED)

    def ask(self, stored: str) -> None:
        """Ask whoever has a memory to let go of it; who waits longer asks again."""
        with self._database.transaction() as run:
            run.execute(
                "INSERT OR REPLACE INTO wanted (stored, asked) VALUES (?, lived())", (stored,)
            )

    def take_back(self, stored: str) -> None:
        """Ask no more: it was let go of, or is not needed."""
        with self._database.transaction() as run:
            run.execute("DELETE FROM wanted WHERE stored = ?", (stored,))

    def all(self) -> list[str]:
        """Everything that is asked for; what nobody asks for any more goes."""
        rows = self._database.rows("SELECT stored, asked FROM wanted")
        since = self._database.clock.now() - _SECONDS
        if any(row["asked"] < since for row in rows):
            with self._database.transaction() as run:
                run.execute("DELETE FROM wanted WHERE asked < ?", (since,))
        return [row["stored"] for row in rows if row["asked"] >= since]
