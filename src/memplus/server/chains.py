"""Which turns of a conversation are written already: a chain of keyed hashes for each.

A turn's link is made of the link before it, its role and its text. Where a client edits an earlier
turn, or has an answer generated anew, the links behind it are other ones: a new branch. Beside it
stands a mark of the turn alone, by which a history whose oldest turns a client has dropped finds
its place in the chain again. Links and marks hold no text, and without the secret in ``server.db``
nobody can find out by trying what it was.

Each link names the text that its turn was written by. Only the memory itself knows whether it still
has that text: it may have gone back to an earlier state since.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from memplus.server.database import ServerDatabase

__all__ = ["SCHEMA", "Chains", "Link", "Place"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS chain_secret (
    one INTEGER PRIMARY KEY CHECK (one = 1), secret BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS turns (
    tenant TEXT NOT NULL, memory TEXT NOT NULL, link BLOB NOT NULL, seen REAL NOT NULL,
    mark BLOB NOT NULL DEFAULT x'', entry TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, memory, link)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS turns_by_age ON turns (tenant, seen);
"""
_BLOCK = 500
"""Links looked up in one query."""
_FRESH_SECONDS = 3600.0
"""A link seen within that time is not noted as seen again."""
_MOST_PLACES = 1000
"""So many places of the same words are looked at, those seen last."""
_ADDED = {"mark": "BLOB NOT NULL DEFAULT x''", "entry": "TEXT NOT NULL DEFAULT ''"}
"""Columns that the first version of the table had not."""


@dataclass(frozen=True)
class Place:
    """Where a chain belongs."""

    tenant: str
    memory: str
    """As the tenant calls it."""
    conversation: str = ""
    """Empty: the chain of the memory itself."""


@dataclass(frozen=True)
class Link:
    """One turn of a conversation."""

    id: bytes
    """Tells it from all other turns, by all that was said up to it."""
    mark: bytes
    """Tells what it says, wherever in its conversation it stands."""


class Chains:
    """Links of turns that are written.

    Args:
        database: where they are kept, and the secret that they are made with.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        database.widen("turns", _ADDED)
        with database.transaction() as run:
            run.execute(
                "CREATE INDEX IF NOT EXISTS turns_by_mark ON turns (tenant, memory, mark, seen)"
            )
            run.execute(
                "INSERT OR IGNORE INTO chain_secret VALUES (1, ?)", (secrets.token_bytes(32),)
            )
        self._secret = bytes(database.row("SELECT secret FROM chain_secret")["secret"])

    # What a turn is called ----------------------------------------------------------------------

    def links(
        self, place: Place, turns: Iterable[tuple[str, str]], after: Link | None = None
    ) -> list[Link]:
        """The link of each turn, a role and a text, in order; blanks around a text do not count.

        Args:
            place: of the chain.
            turns: of the conversation.
            after: the link of the turn before them; None: the conversation begins with them.
        """
        id = self.digest("conversation", place.conversation) if after is None else after.id
        found: list[Link] = []
        for role, text in turns:
            id = self._next(id, role, text)
            mark = self.digest("turn", place.conversation, role, text.strip())
            found.append(Link(id, mark))
        return found

    def _next(self, id: bytes, role: str, text: str) -> bytes:
        return self.digest(id.hex(), role, text.strip())

    def continued(self, place: Place, turns: Sequence[tuple[str, str]]) -> list[Link]:
        """As ``links``, of turns of which the client may have dropped the oldest ones.

        They begin where most of them, and two at least, were said one after the other. A single
        turn says too little: it begins a chat. Where the conversation has no name, so do turns of
        which all but the last were the beginning of a chat before.
        """
        whole = self.links(place, turns)
        known = self.known(place, whole)
        begun = next((at for at, link in enumerate(whole) if link not in known), len(whole))
        enough = len(turns) if place.conversation else len(turns) - 1
        if len(turns) < 2 or begun >= enough:
            return whole
        start = self._longest(place, turns, whole[0].mark, max(begun, 1))
        if start is None:
            return whole
        first = Link(start, whole[0].mark)
        return [first, *self.links(place, turns[1:], first)]

    def placed(
        self, place: Place, turns: Sequence[tuple[str, str]], kept: Sequence[bytes]
    ) -> list[Link]:
        """As ``continued``, of turns of which some are kept with their links.

        These stay what they are, whatever was taken out before them, and whichever request at the
        same time put turns of its own between them; a new turn goes on from the one before it.

        Args:
            place: of the chain.
            turns: of the conversation.
            kept: the link of each turn; empty: it has none yet.
        """
        if not any(kept):
            return self.continued(place, turns)
        found: list[Link] = []
        for turn, id in zip(turns, kept, strict=True):
            (link,) = self.links(place, [turn], found[-1] if found else None)
            found.append(Link(id, link.mark) if id else link)
        return found

    def _longest(
        self, place: Place, turns: Sequence[tuple[str, str]], mark: bytes, more_than: int
    ) -> bytes | None:
        """The link of the first turn where the most turns, more than so many, were said."""
        starts = {id: id for id in self._places(place, mark)}
        found: bytes | None = None
        for count, (role, text) in enumerate(turns[1:], 2):
            ahead = {self._next(id, role, text): start for id, start in starts.items()}
            there = self.known(place, [Link(id, b"") for id in ahead])
            starts = {one.id: ahead[one.id] for one in there}
            if not starts:
                break
            if count > more_than:
                found = next(iter(starts.values()))
        return found

    def _places(self, place: Place, mark: bytes) -> list[bytes]:
        rows = self._database.rows(
            "SELECT link FROM turns WHERE tenant = ? AND memory = ? AND mark = ? "
            "ORDER BY seen DESC LIMIT ?",
            (place.tenant, place.memory, mark, _MOST_PLACES),
        )
        return [bytes(row["link"]) for row in rows]

    def digest(self, *parts: str) -> bytes:
        """A keyed hash of texts, each told from the next by its length."""
        made = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in parts:
            content = part.encode("utf-8", "surrogatepass")
            made.update(len(content).to_bytes(8, "big") + content)
        return made.digest()

    # Which are there ----------------------------------------------------------------------------

    def known(self, place: Place, links: Sequence[Link]) -> dict[Link, str]:
        """Those of the links that are there, in order, and ids of the texts that wrote them.

        A link without an id counts as written, whatever its memory holds.
        """
        found: dict[bytes, str] = {}
        for start in range(0, len(links), _BLOCK):
            block = [one.id for one in links[start : start + _BLOCK]]
            marks = ",".join("?" * len(block))
            rows = self._database.rows(
                "SELECT link, entry FROM turns "
                f"WHERE tenant = ? AND memory = ? AND link IN ({marks})",
                (place.tenant, place.memory, *block),
            )
            found |= {bytes(row["link"]): row["entry"] for row in rows}
        return {one: found[one.id] for one in links if one.id in found}

    @staticmethod
    def put(
        run: sqlite3.Connection,
        place: Place,
        links: Sequence[Link],
        gone: Mapping[Link, str] | None = None,
    ) -> set[Link]:
        """Note links in a transaction; those that were not there.

        Args:
            run: the transaction.
            place: of the chain.
            links: of all turns, in order.
            gone: links whose texts the memory has no more, with the ids of these: they are not
                there, unless another request has written them meanwhile.
        """
        fresh = set()
        here = (place.tenant, place.memory)
        for link, entry in (gone or {}).items():
            run.execute(
                "DELETE FROM turns WHERE tenant = ? AND memory = ? AND link = ? AND entry = ?",
                (*here, link.id, entry),
            )
        for link in links:
            new = run.execute(
                "INSERT OR IGNORE INTO turns (tenant, memory, link, seen, mark) "
                "VALUES (?, ?, ?, lived(), ?)",
                (*here, link.id, link.mark),
            )
            if new.rowcount:
                fresh.add(link)
                continue
            run.execute(
                "UPDATE turns SET seen = lived(), mark = ? "
                "WHERE tenant = ? AND memory = ? AND link = ? AND seen < lived() - ?",
                (link.mark, *here, link.id, _FRESH_SECONDS),
            )
        return fresh

    @staticmethod
    def name(
        run: sqlite3.Connection,
        place: Place,
        links: Sequence[Link],
        fresh: set[Link],
        entries: Mapping[Link, str],
    ) -> None:
        """Note by which texts new links were written; one without its own goes with the one before.

        Args:
            run: the transaction.
            place: of the chain.
            links: of all turns, in order.
            fresh: those that are new.
            entries: ids of the texts.
        """
        where = "WHERE tenant = ? AND memory = ? AND link = ?"
        entry = ""
        for link in links:
            values = (place.tenant, place.memory, link.id)
            if link in fresh:
                entry = entries.get(link, entry)
                run.execute(f"UPDATE turns SET entry = ? {where}", (entry, *values))
            else:
                (entry,) = run.execute(f"SELECT entry FROM turns {where}", values).fetchone()

    @staticmethod
    def keep(run: sqlite3.Connection, tenant: str, memory: str, entries: Iterable[str]) -> None:
        """Let turns count as written although texts of theirs will never be in the memory."""
        run.executemany(
            "UPDATE turns SET entry = '' WHERE tenant = ? AND memory = ? AND entry = ?",
            [(tenant, memory, one) for one in entries],
        )

    @staticmethod
    def fork(run: sqlite3.Connection, stored: str, new: str) -> None:
        """Give a memory the links of another, both by their names in the store."""
        (tenant, _, memory), (own, _, name) = stored.rpartition("/"), new.rpartition("/")
        run.execute(
            "INSERT OR IGNORE INTO turns (tenant, memory, link, seen, mark, entry) "
            "SELECT ?, ?, link, seen, mark, entry FROM turns "
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
