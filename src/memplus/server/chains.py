"""Which turns of a conversation are written already: a chain of keyed hashes for each.

A turn's link is made of the link before it, its role and its text. Where a client edits an earlier
turn, or has an answer generated anew, the links behind it are other ones: a new branch. The links
hold no text, and without the secret in ``server.db`` nobody can find out by trying what it was.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from memplus.server.database import ServerDatabase

__all__ = ["SCHEMA", "Chains", "Place"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS chain_secret (
    one INTEGER PRIMARY KEY CHECK (one = 1), secret BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS turns (
    tenant TEXT NOT NULL, memory TEXT NOT NULL, link BLOB NOT NULL, seen REAL NOT NULL,
    PRIMARY KEY (tenant, memory, link)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS turns_by_age ON turns (tenant, seen);
"""
_BLOCK = 500
"""Links looked up in one query."""
_FRESH_SECONDS = 3600.0
"""A link seen within that time is not noted as seen again."""


@dataclass(frozen=True)
class Place:
    """Where a chain belongs."""

    tenant: str
    memory: str
    """As the tenant calls it."""
    conversation: str = ""
    """Empty: the chain of the memory itself."""


class Chains:
    """Links of turns that are written.

    Args:
        database: where they are kept, and the secret that they are made with.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        with database.transaction() as run:
            run.execute(
                "INSERT OR IGNORE INTO chain_secret VALUES (1, ?)", (secrets.token_bytes(32),)
            )
        self._secret = bytes(database.row("SELECT secret FROM chain_secret")["secret"])

    def links(self, place: Place, turns: Iterable[tuple[str, str]]) -> list[bytes]:
        """The link of each turn, a role and a text, in order; blanks around a text do not count."""
        link = self.digest("conversation", place.conversation)
        found: list[bytes] = []
        for role, text in turns:
            link = self.digest(link.hex(), role, text.strip())
            found.append(link)
        return found

    def digest(self, *parts: str) -> bytes:
        """A keyed hash of texts, each told from the next by its length."""
        made = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in parts:
            content = part.encode("utf-8", "surrogatepass")
            made.update(len(content).to_bytes(8, "big") + content)
        return made.digest()

    def known(self, place: Place, links: Sequence[bytes]) -> set[bytes]:
        """Those of the links that are there."""
        found: set[bytes] = set()
        for start in range(0, len(links), _BLOCK):
            block = links[start : start + _BLOCK]
            marks = ",".join("?" * len(block))
            rows = self._database.rows(
                f"SELECT link FROM turns WHERE tenant = ? AND memory = ? AND link IN ({marks})",
                (place.tenant, place.memory, *block),
            )
            found |= {bytes(row["link"]) for row in rows}
        return found

    @staticmethod
    def put(run: sqlite3.Connection, place: Place, links: Sequence[bytes]) -> set[bytes]:
        """Note links in a transaction; those that were not there."""
        now, fresh = time.time(), set()
        for link in links:
            values = (place.tenant, place.memory, link)
            new = run.execute("INSERT OR IGNORE INTO turns VALUES (?, ?, ?, ?)", (*values, now))
            if new.rowcount:
                fresh.add(link)
                continue
            run.execute(
                "UPDATE turns SET seen = ? "
                "WHERE tenant = ? AND memory = ? AND link = ? AND seen < ?",
                (now, *values, now - _FRESH_SECONDS),
            )
        return fresh

    @staticmethod
    def fork(run: sqlite3.Connection, stored: str, new: str) -> None:
        """Give a memory the links of another, both by their names in the store."""
        (tenant, _, memory), (own, _, name) = stored.rpartition("/"), new.rpartition("/")
        run.execute(
            "INSERT OR IGNORE INTO turns SELECT ?, ?, link, seen FROM turns "
            "WHERE tenant = ? AND memory = ?",
            (own, name, tenant, memory),
        )

    @staticmethod
    def drop(run: sqlite3.Connection, tenant: str, memory: str) -> None:
        """Forget the chains of a memory that is deleted."""
        run.execute("DELETE FROM turns WHERE tenant = ? AND memory = ?", (tenant, memory))

    @staticmethod
    def prune(run: sqlite3.Connection, most: int, before: float) -> None:
        """Let go of links not seen since, and of the oldest of a tenant that has too many."""
        run.execute("DELETE FROM turns WHERE seen < ?", (before,))
        tenants = run.execute(
            "SELECT tenant FROM turns GROUP BY tenant HAVING count(*) > ?", (most,)
        )
        for (tenant,) in tenants.fetchall():
            (border,) = run.execute(
                "SELECT seen FROM turns WHERE tenant = ? ORDER BY seen DESC LIMIT 1 OFFSET ?",
                (tenant, most),
            ).fetchone()
            run.execute("DELETE FROM turns WHERE tenant = ? AND seen <= ?", (tenant, border))
