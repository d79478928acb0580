"""Conversations that are kept for clients: their items, and the memory that they began with.

Of one tenant so many, so large and no older than the settings say; those that were used longest
ago go.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memplus.server.database import ServerDatabase
from memplus.server.kept_bytes import kept_bytes
from memplus.server.principals import Principal

__all__ = ["MADE", "SCHEMA", "KeptConversation", "KeptConversations", "owner_of", "sees"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT NOT NULL, tenant TEXT NOT NULL, owner TEXT NOT NULL, key TEXT NOT NULL, memory TEXT,
    metadata TEXT NOT NULL, created REAL NOT NULL, used REAL NOT NULL,
    PRIMARY KEY (tenant, owner, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS conversations_by_use ON conversations (tenant, used);
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, tenant TEXT NOT NULL,
    owner TEXT NOT NULL, conversation TEXT NOT NULL, body TEXT NOT NULL,
    link BLOB NOT NULL DEFAULT x''
) STRICT;
CREATE INDEX IF NOT EXISTS items_by_conversation ON items (tenant, owner, conversation, number);
CREATE INDEX IF NOT EXISTS items_by_id ON items (tenant, id);
"""
MADE = "conv_"
"""How the ids begin that the server makes."""
_ITEMS = 10_000
"""Most items of one conversation; the oldest go."""
_OF_MEMORY = (
    "(tenant, owner, conversation) IN "
    "(SELECT tenant, owner, id FROM conversations WHERE tenant = ? AND memory = ?)"
)
_ITEM = "tenant = ? AND owner = ? AND conversation = ? AND id = ?"
_OLDEST = (
    "SELECT owner, id FROM conversations AS its WHERE tenant = ? AND (owner, id) != (?, ?) "
    "AND EXISTS (SELECT 1 FROM items WHERE items.tenant = its.tenant AND items.owner = its.owner "
    "AND items.conversation = its.id) ORDER BY used LIMIT 1"
)
"""Of a tenant's conversations that hold something the one used longest ago, but not this one."""
_OLDEST_ITEM = (
    "DELETE FROM items WHERE number = (SELECT min(number) FROM items "
    "WHERE tenant = ? AND owner = ? AND conversation = ?)"
)
_ADDED = {"link": "BLOB NOT NULL DEFAULT x''"}
"""A column that the first version of the items had not."""


@dataclass(frozen=True)
class KeptConversation:
    """What is kept of a conversation, its items left out."""

    id: str
    memory: str | None
    """The memory that it began with; empty: none; None: it has not begun."""
    metadata: dict[str, Any]
    created: float


class KeptConversations:
    """Conversations of the holders of keys.

    Args:
        database: where they are.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        database.widen("items", _ADDED)

    def one(self, who: Principal, id: str) -> KeptConversation | None:
        """One that the principal may see: of a memory of his, or, without one, of his key."""
        row = self._database.row(
            "SELECT id, key, memory, metadata, created FROM conversations "
            "WHERE tenant = ? AND owner = ? AND id = ?",
            (who.tenant, owner_of(who, id), id),
        )
        if row is None or not sees(who, row):
            return None
        metadata = json.loads(row["metadata"])
        return KeptConversation(row["id"], row["memory"], metadata, row["created"])

    @staticmethod
    def begin(
        run: sqlite3.Connection,
        who: Principal,
        id: str,
        memory: str | None,
        metadata: dict[str, Any],
        most: int,
    ) -> None:
        """Keep a conversation, as part of a transaction; one that has begun keeps its memory."""
        run.execute(
            "INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?, lived()) "
            "ON CONFLICT (tenant, owner, id) DO UPDATE "
            "SET used = excluded.used, memory = coalesce(memory, excluded.memory)",
            (id, who.tenant, owner_of(who, id), who.key, memory, json.dumps(metadata), time.time()),
        )
        old = run.execute(
            "SELECT owner, id FROM conversations WHERE tenant = ? "
            "ORDER BY used DESC LIMIT -1 OFFSET ?",
            (who.tenant, most),
        ).fetchall()
        for owner, one in old:
            _delete(run, who.tenant, owner, one)

    @staticmethod
    def go_on(run: sqlite3.Connection, who: Principal, id: str, memory: str | None) -> bool:
        """Use a conversation that is kept, as part of a transaction; whether it is there still."""
        used = run.execute(
            "UPDATE conversations SET used = lived(), memory = coalesce(memory, ?) "
            "WHERE tenant = ? AND owner = ? AND id = ?",
            (memory, who.tenant, owner_of(who, id), id),
        )
        return bool(used.rowcount)

    def update(self, who: Principal, id: str, metadata: dict[str, Any]) -> None:
        """Give a conversation other metadata."""
        with self._database.transaction() as run:
            run.execute(
                "UPDATE conversations SET metadata = ?, used = lived() "
                "WHERE tenant = ? AND owner = ? AND id = ?",
                (json.dumps(metadata), who.tenant, owner_of(who, id), id),
            )
        self._database.scrub()

    def delete(self, who: Principal, id: str) -> None:
        """Let go of a conversation and its items."""
        with self._database.transaction() as run:
            _delete(run, who.tenant, owner_of(who, id), id)
        self._database.scrub()

    # Items --------------------------------------------------------------------------------------

    @staticmethod
    def add(
        run: sqlite3.Connection,
        who: Principal,
        id: str,
        items: Sequence[dict[str, Any]],
        most_bytes: int = 0,
    ) -> None:
        """Add items at the end, as part of a transaction.

        Where the tenant's items have more bytes than ``most_bytes``, unless that is 0, the
        conversations go that were used longest ago, and the oldest items if only this one is left.
        """
        run.executemany(
            "INSERT INTO items (id, tenant, owner, conversation, body) VALUES (?, ?, ?, ?, ?)",
            [(one["id"], who.tenant, owner_of(who, id), id, json.dumps(one)) for one in items],
        )
        values = (who.tenant, owner_of(who, id), id)
        run.execute(
            "DELETE FROM items WHERE tenant = ? AND owner = ? AND conversation = ? AND number <= "
            "(SELECT number FROM items WHERE tenant = ? AND owner = ? AND conversation = ? "
            "ORDER BY number DESC LIMIT 1 OFFSET ?)",
            (*values, *values, _ITEMS),
        )
        while 0 < most_bytes < kept_bytes(run, "items", who.tenant):
            other = run.execute(_OLDEST, (who.tenant, *values[1:])).fetchone()
            if other is not None:
                _delete(run, who.tenant, *other)
            elif not run.execute(_OLDEST_ITEM, values).rowcount:
                break

    def items(self, who: Principal, id: str) -> list[dict[str, Any]]:
        """All items, oldest first."""
        rows = self._database.rows(
            "SELECT body FROM items WHERE tenant = ? AND owner = ? AND conversation = ? "
            "ORDER BY number",
            (who.tenant, owner_of(who, id), id),
        )
        return [json.loads(row["body"]) for row in rows]

    def page(
        self, who: Principal, id: str, after: str | None, limit: int, *, newest_first: bool
    ) -> list[dict[str, Any]] | None:
        """Some items of one, beginning behind the item ``after``; None: it has no such item."""
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        where, values = "", [who.tenant, owner_of(who, id), id]
        if after is not None:
            row = self._database.row(f"SELECT number FROM items WHERE {_ITEM}", (*values, after))
            if row is None:
                return None
            where = f"AND number {beyond} {int(row['number'])} "
        rows = self._database.rows(
            "SELECT body FROM items WHERE tenant = ? AND owner = ? AND conversation = ? "
            f"{where}ORDER BY number {order} LIMIT ?",
            (*values, limit),
        )
        return [json.loads(row["body"]) for row in rows]

    def item(self, who: Principal, id: str, item: str) -> dict[str, Any] | None:
        """One item of one, if it is there."""
        values = (who.tenant, owner_of(who, id), id, item)
        row = self._database.row(f"SELECT body FROM items WHERE {_ITEM}", values)
        return None if row is None else dict(json.loads(row["body"]))

    def named(self, who: Principal, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Items of whichever conversations the principal may see, by their ids."""
        rows = self._database.rows(
            "SELECT items.id, body, key, memory FROM items JOIN conversations AS its "
            "ON its.tenant = items.tenant AND its.owner = items.owner "
            "AND its.id = items.conversation WHERE items.tenant = ? AND items.owner IN ('', ?) "
            "AND items.id IN (SELECT value FROM json_each(?))",
            (who.tenant, who.key, json.dumps(ids)),
        )
        return {row["id"]: json.loads(row["body"]) for row in rows if sees(who, row)}

    def links(self, who: Principal, id: str) -> dict[str, bytes]:
        """What the turns of items are called, by the items' ids; empty: not settled yet."""
        rows = self._database.rows(
            "SELECT id, link FROM items WHERE tenant = ? AND owner = ? AND conversation = ?",
            (who.tenant, owner_of(who, id), id),
        )
        return {row["id"]: bytes(row["link"]) for row in rows}

    @staticmethod
    def link(run: sqlite3.Connection, who: Principal, id: str, links: Mapping[str, bytes]) -> None:
        """Note what the turns of items are called, as part of a transaction."""
        run.executemany(
            "UPDATE items SET link = ? "
            "WHERE tenant = ? AND owner = ? AND conversation = ? AND id = ?",
            [(link, who.tenant, owner_of(who, id), id, item) for item, link in links.items()],
        )

    def delete_item(self, who: Principal, id: str, item: str) -> bool:
        """Let go of one item; whether it was there."""
        with self._database.transaction() as run:
            values = (who.tenant, owner_of(who, id), id, item)
            gone = run.execute(f"DELETE FROM items WHERE {_ITEM}", values)
        self._database.scrub()
        return bool(gone.rowcount)

    @staticmethod
    def new_item_id() -> str:
        """An id that no other item has."""
        return f"msg_{secrets.token_hex(16)}"

    # Forgetting ---------------------------------------------------------------------------------

    @staticmethod
    def empty(run: sqlite3.Connection, tenant: str, memory: str) -> int:
        """Let go of all items of a memory's conversations; how many that were.

        What clients noted of the conversations goes as well: it may say the same.
        """
        run.execute(
            "UPDATE conversations SET metadata = '{}' WHERE tenant = ? AND memory = ?",
            (tenant, memory),
        )
        gone = run.execute(f"DELETE FROM items WHERE {_OF_MEMORY}", (tenant, memory))
        return gone.rowcount

    def count(self, tenant: str, memory: str) -> int:
        """How many items the conversations of a memory have."""
        query = f"SELECT count(*) FROM items WHERE {_OF_MEMORY}"
        return int(self._database.row(query, (tenant, memory))[0])

    def said(self, tenant: str, memory: str) -> Iterator[Any]:
        """What is kept of a memory's conversations: metadata of each, then every item."""
        values = (tenant, memory)
        query = "SELECT metadata FROM conversations WHERE tenant = ? AND memory = ?"
        yield from (json.loads(row["metadata"]) for row in self._database.rows(query, values))
        rows = self._database.rows(f"SELECT body FROM items WHERE {_OF_MEMORY}", values)
        yield from (json.loads(row["body"]) for row in rows)

    @staticmethod
    def drop(run: sqlite3.Connection, tenant: str, memory: str) -> None:
        """Let go of a memory's conversations."""
        KeptConversations.empty(run, tenant, memory)
        run.execute("DELETE FROM conversations WHERE tenant = ? AND memory = ?", (tenant, memory))

    @staticmethod
    def prune(run: sqlite3.Connection, before: float) -> None:
        """Let go of what was not used since."""
        old = run.execute("SELECT tenant, owner, id FROM conversations WHERE used < ?", (before,))
        for tenant, owner, id in old.fetchall():
            _delete(run, tenant, owner, id)


def owner_of(who: Principal, id: str) -> str:
    """Whose name it is: one that the server made is the tenant's, another the key's own."""
    return "" if id.startswith(MADE) else who.key


def sees(who: Principal, row: sqlite3.Row) -> bool:
    """Whether what is kept is of a memory that one may see or, without one, of the own key."""
    return who.sees(row["memory"]) if row["memory"] else bool(row["key"] == who.key)


def _delete(run: sqlite3.Connection, tenant: str, owner: str, id: str) -> None:
    values = (tenant, owner, id)
    run.execute("DELETE FROM items WHERE tenant = ? AND owner = ? AND conversation = ?", values)
    run.execute("DELETE FROM conversations WHERE tenant = ? AND owner = ? AND id = ?", values)
