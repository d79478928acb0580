"""What is kept of calls that wrote: their metadata, and how a repeated one is known again.

Holds no text. The memory's own label says whether a call was written; a row here without it counts
for nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from memplus.server.database import ServerDatabase

__all__ = ["SCHEMA", "Call", "Calls", "digest_of", "label_of"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    stored TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL, source TEXT NOT NULL,
    start INTEGER NOT NULL, tokens INTEGER NOT NULL, writes TEXT NOT NULL, metadata TEXT NOT NULL,
    created REAL NOT NULL, PRIMARY KEY (stored, id)
) STRICT;
CREATE INDEX IF NOT EXISTS calls_by_place ON calls (stored, source, start);
CREATE INDEX IF NOT EXISTS calls_by_time ON calls (stored, created);
"""
_FIELDS = "id, digest, source, start, tokens, writes, metadata, created"
_KEYED = "key-"
"""How the labels of writes begin that a client gave a key to."""
_RETRY_SECONDS = 600.0
"""A client gives up after so long; what comes later is another write of the same text."""


@dataclass(frozen=True)
class Call:
    """One call that wrote."""

    id: str
    """The label of its commit."""
    digest: str
    source: str
    start: int
    """First token, counted from the beginning of the source."""
    tokens: int
    writes: tuple[int, ...]
    """Ids of the chunks that it filled."""
    metadata: dict[str, str]
    created: float = 0.0

    def covers(self, start: int, tokens: int) -> bool:
        """Whether some of its tokens are among these of its source."""
        return self.start < start + tokens and start < self.start + self.tokens


def digest_of(*parts: str) -> str:
    """Tells what was sent from anything else."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def label_of(key: str) -> str:
    """The label of a write that a client gave a key to, so that it is written once."""
    return f"{_KEYED}{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


class Calls:
    """The calls that wrote to memories, by the memories' names in the store.

    Every method may raise ``StorageError``.

    Args:
        database: where they are kept.
        days: how long a call without metadata is known again.
    """

    def __init__(self, database: ServerDatabase, days: float) -> None:
        self._database = database
        self._seconds = days * 86_400

    def add(self, stored: str, call: Call) -> None:
        """Keep one; those that are of no more use go."""
        now = self._database.clock.now()
        metadata, writes = json.dumps(call.metadata), json.dumps(call.writes)
        values = (call.id, call.digest, call.source, call.start, call.tokens, writes, metadata, now)
        with self._database.transaction() as run:
            run.execute(
                "DELETE FROM calls WHERE stored = ? AND metadata = '{}' AND created < ?",
                (stored, now - self._seconds),
            )
            run.execute(
                f"INSERT OR REPLACE INTO calls (stored, {_FIELDS}) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (stored, *values),
            )

    def noted(self, stored: str) -> list[Call]:
        """All that have metadata or a client's key."""
        where = "stored = ? AND (metadata != '{}' OR id GLOB ?) ORDER BY source, start, id"
        return self._calls(where, (stored, f"{_KEYED}*"))

    def remove(self, stored: str, ids: Iterable[str]) -> None:
        """Forget some."""
        with self._database.transaction() as run:
            run.executemany(
                "DELETE FROM calls WHERE stored = ? AND id = ?", [(stored, one) for one in ids]
            )

    def get(self, stored: str, id: str) -> Call | None:
        """One of them."""
        found = self._calls("stored = ? AND id = ?", (stored, id))
        return found[0] if found else None

    def written_lately(self, stored: str, digest: str) -> list[Call]:
        """Calls that wrote the same, newest first, while a client may still be repeating one.

        Others may have written to the memory since: a client waits before it tries again.
        """
        where = "stored = ? AND digest = ? AND created > ? ORDER BY created DESC, rowid DESC"
        return self._calls(where, (stored, digest, self._database.clock.now() - _RETRY_SECONDS))

    def described(self, stored: str, sources: Iterable[str]) -> list[Call]:
        """Those of some sources that have metadata, in order."""
        found: list[Call] = []
        for source in sorted(set(sources)):
            where = "stored = ? AND source = ? AND metadata != '{}' ORDER BY start, created"
            found += self._calls(where, (stored, source))
        return found

    def _calls(self, where: str, values: Sequence[object]) -> list[Call]:
        rows = self._database.rows(f"SELECT {_FIELDS} FROM calls WHERE {where}", values)
        return [
            Call(
                row["id"], row["digest"], row["source"], row["start"], row["tokens"],
                tuple(json.loads(row["writes"])), json.loads(row["metadata"]), row["created"],
            )
            for row in rows
        ]  # fmt: skip

    # What happens to memories -------------------------------------------------------------------

    def drop(self, stored: str) -> None:
        """Forget all of a memory that is deleted."""
        with self._database.transaction() as run:
            run.execute("DELETE FROM calls WHERE stored = ?", (stored,))

    def fork(self, stored: str, new: str) -> None:
        """A fork has the calls of the memory that it was made of."""
        with self._database.transaction() as run:
            run.execute(
                f"INSERT OR REPLACE INTO calls (stored, {_FIELDS}) "
                f"SELECT ?, {_FIELDS} FROM calls WHERE stored = ?",
                (new, stored),
            )

    def places(
        self, stored: str, left: Sequence[tuple[str, int, int]], *, anew: bool
    ) -> dict[str, tuple[int, int]]:
        """Where calls lie once only some tokens are left.

        Args:
            stored: the memory.
            left: (source, first token, tokens) of what stays.
            anew: whether that is counted without gaps, as after ``rebuild``.

        Returns:
            (first token, tokens) of the calls that change, by their ids; no tokens: all are gone.
        """
        by_source: dict[str, list[tuple[int, int]]] = {}
        for source, start, tokens in left:
            by_source.setdefault(source, []).append((start, start + tokens))
        found: dict[str, tuple[int, int]] = {}
        for call in self._calls("stored = ? AND tokens > 0 ORDER BY id", (stored,)):
            parts = by_source.get(call.source, [])
            end = call.start + call.tokens
            stay = sum(max(0, min(end, last) - max(call.start, first)) for first, last in parts)
            before = sum(max(0, min(call.start, last) - first) for first, last in parts)
            place = (before, stay) if anew else (call.start, call.tokens)
            if not stay:
                found[call.id] = (0, 0)
            elif place != (call.start, call.tokens):
                found[call.id] = place
        return found

    def put(self, stored: str, places: Mapping[str, Sequence[int]], *, anew: bool) -> None:
        """Let calls lie where ``places`` found, once or again.

        Of those with no tokens only clients' keys are kept, with digests that tell nobody else
        what was written: the same key with another text is refused as before.

        Args:
            stored: the memory.
            places: as ``places`` gave them.
            anew: whether the memory's writes are numbered anew: the ids that calls have name
                others then.
        """
        gone = [id for id, (_, tokens) in places.items() if not tokens]
        moved = [(start, tokens, stored, id) for id, (start, tokens) in places.items() if tokens]
        with self._database.transaction() as run:
            run.executemany(
                "UPDATE calls SET start = ?, tokens = ? WHERE stored = ? AND id = ?", moved
            )
            for id in gone:
                if id.startswith(_KEYED):
                    run.execute(
                        "UPDATE calls SET source = '', start = 0, tokens = 0, writes = '[]', "
                        "metadata = '{}' WHERE stored = ? AND id = ?",
                        (stored, id),
                    )
                else:
                    run.execute("DELETE FROM calls WHERE stored = ? AND id = ?", (stored, id))
            if anew:
                run.execute("UPDATE calls SET writes = '[]' WHERE stored = ?", (stored,))

    def ids(self, stored: str) -> list[str]:
        """All that are kept of a memory."""
        rows = self._database.rows("SELECT id FROM calls WHERE stored = ?", (stored,))
        return [row["id"] for row in rows]

    def keep(self, stored: str, ids: Collection[str]) -> None:
        """Forget all others: a state was gone back to, and these are the calls that it has."""
        self.remove(stored, [one for one in self.ids(stored) if one not in ids])
