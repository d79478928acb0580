"""Memories that a server asks another of the same directory to let go of."""

from __future__ import annotations

from memplus.server.database import ServerDatabase

__all__ = ["SCHEMA", "Wanted"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS wanted (stored TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"""


class Wanted:
    """What is asked for, by its name in the store.

    A server that has a memory open for writing keeps it so; it lets go of one that stands here, as
    soon as it is done with what it does. Nothing depends on it: who does not look here lets go
    later, or loses its lease.

    Every method may raise ``StorageError``.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database

    def ask(self, stored: str) -> None:
        """Ask whoever has a memory to let go of it."""
        with self._database.transaction() as run:
            run.execute("INSERT OR IGNORE INTO wanted VALUES (?)", (stored,))

    def take_back(self, stored: str) -> None:
        """Ask no more: it was let go of, or is not needed."""
        with self._database.transaction() as run:
            run.execute("DELETE FROM wanted WHERE stored = ?", (stored,))

    def all(self) -> list[str]:
        """Everything that is asked for."""
        return [row["stored"] for row in self._database.rows("SELECT stored FROM wanted")]
