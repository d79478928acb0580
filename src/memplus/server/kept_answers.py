"""Answers that are kept: responses that can be asked for and gone on from, and repeated requests.

Of one tenant so many, so large and no older than the settings say; the oldest go.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from memplus.server.database import ServerDatabase
from memplus.server.faults import RequestFault
from memplus.server.kept_bytes import keep_newest
from memplus.server.kept_conversations import owner_of, sees
from memplus.server.principals import Principal

__all__ = ["SCHEMA", "KeptAnswers", "KeptResponse", "Repeat"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    key TEXT NOT NULL, memory TEXT NOT NULL, created REAL NOT NULL, previous TEXT NOT NULL,
    said TEXT NOT NULL, item TEXT NOT NULL DEFAULT '', body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS responses_by_tenant ON responses (tenant, number);
CREATE INDEX IF NOT EXISTS responses_by_memory ON responses (tenant, memory);
CREATE TABLE IF NOT EXISTS repeats (
    number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, key TEXT NOT NULL,
    name BLOB NOT NULL, memory TEXT NOT NULL, created REAL NOT NULL, digest BLOB NOT NULL,
    body TEXT NOT NULL, UNIQUE (tenant, key, name)
) STRICT;
CREATE INDEX IF NOT EXISTS repeats_by_tenant ON repeats (tenant, number);
"""
_LONGEST_CHAIN = 1000
_ADDED = {"item": "TEXT NOT NULL DEFAULT ''"}
"""A column that the first version of the responses had not: the id of the item that was said."""


@dataclass(frozen=True)
class KeptResponse:
    """A response as it is kept."""

    id: str
    memory: str
    """As the tenant calls it; empty: none."""
    previous: str
    """Id of the response that it goes on from; empty: none."""
    said: list[dict[str, Any]]
    """Its input, as items of a conversation."""
    body: dict[str, Any]


@dataclass(frozen=True)
class Repeat:
    """A request that may come again, by its ``Idempotency-Key``."""

    name: bytes
    """A keyed hash of that key."""
    digest: bytes
    """A keyed hash of the request."""
    body: dict[str, Any] = field(default_factory=dict)
    """Its answer."""


class KeptAnswers:
    """Kept responses and repeats.

    Args:
        database: where they are.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        new = database.widen("responses", _ADDED)
        with database.transaction() as run:
            if new:
                said = "coalesce(json_extract(body, '$.output[0].id'), '')"
                run.execute(f"UPDATE responses SET item = {said}")
            run.execute("CREATE INDEX IF NOT EXISTS responses_by_item ON responses (tenant, item)")

    def response(self, who: Principal, id: str) -> KeptResponse | None:
        """One that the principal may see: of a memory of his, or, without one, of his key."""
        row = self._database.row(
            "SELECT id, key, memory, previous, said, body FROM responses "
            "WHERE id = ? AND tenant = ?",
            (id, who.tenant),
        )
        if row is None:
            return None
        if not sees(who, row):
            return None
        said, body = json.loads(row["said"]), json.loads(row["body"])
        return KeptResponse(row["id"], row["memory"], row["previous"], said, body)

    def last_in(self, who: Principal, conversation: str) -> KeptResponse | None:
        """The newest one of a conversation that the principal may see."""
        owner = owner_of(who, conversation)  # another key may call one of its own alike
        row = self._database.row(
            "SELECT id FROM responses WHERE tenant = ? AND ? IN ('', key) "
            "AND json_extract(body, '$.conversation.id') = ? ORDER BY number DESC LIMIT 1",
            (who.tenant, owner, conversation),
        )
        return None if row is None else self.response(who, row["id"])

    def answered(self, who: Principal, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What responses said that the principal may see, by the ids of these items."""
        rows = self._database.rows(
            "SELECT key, memory, body FROM responses WHERE tenant = ? "
            "AND item != '' AND item IN (SELECT value FROM json_each(?))",
            (who.tenant, json.dumps(ids)),
        )
        items = [json.loads(row["body"])["output"][0] for row in rows if sees(who, row)]
        return {one["id"]: one for one in items}

    def chain(self, who: Principal, last: KeptResponse) -> list[KeptResponse]:
        """A response and those before it that are still kept, oldest first."""
        found = [last]
        while found[-1].previous and len(found) < _LONGEST_CHAIN:
            before = self.response(who, found[-1].previous)
            if before is None:
                break
            found.append(before)
        return found[::-1]

    def delete(self, who: Principal, id: str) -> bool:
        """Let go of one; whether the principal has it.

        Raises:
            RequestFault: it answered another key, and this one may only read.
        """
        if self.response(who, id) is None:
            return False
        row = self._database.row("SELECT key FROM responses WHERE id = ?", (id,))
        if not who.may("write") and row is not None and row["key"] != who.key:
            raise RequestFault.forbidden("This key has no scope 'write'.")
        with self._database.transaction() as run:
            run.execute("DELETE FROM responses WHERE id = ? AND tenant = ?", (id, who.tenant))
        self._database.scrub()
        return True

    @staticmethod
    def put(
        run: sqlite3.Connection,
        who: Principal,
        kept: KeptResponse,
        most: int,
        most_bytes: int = 0,
    ) -> None:
        """Keep one, as part of a transaction; the oldest go as ``keep_newest`` says."""
        item = next((one["id"] for one in kept.body.get("output", ())), "")
        values = (kept.id, who.tenant, who.key, kept.memory, kept.previous, item)
        run.execute(
            "INSERT INTO responses (id, tenant, key, memory, previous, item, said, body, created) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, lived())",
            (*values, json.dumps(kept.said), json.dumps(kept.body)),
        )
        keep_newest(run, "responses", who.tenant, most, most_bytes)

    def repeated(self, who: Principal, name: bytes) -> Repeat | None:
        """What was answered to a request of that key's holder, under that name."""
        row = self._database.row(
            "SELECT digest, body FROM repeats WHERE tenant = ? AND key = ? AND name = ?",
            (who.tenant, who.key, name),
        )
        return None if row is None else Repeat(name, row["digest"], json.loads(row["body"]))

    @staticmethod
    def put_repeat(
        run: sqlite3.Connection,
        who: Principal,
        memory: str,
        repeat: Repeat,
        most: int,
        most_bytes: int = 0,
    ) -> None:
        """Keep the answer to a request that may come again, as part of a transaction."""
        values = (who.tenant, who.key, repeat.name, memory, repeat.digest)
        run.execute(
            "INSERT OR IGNORE INTO repeats (tenant, key, name, memory, digest, body, created) "
            "VALUES (?, ?, ?, ?, ?, ?, lived())",
            (*values, json.dumps(repeat.body)),
        )
        keep_newest(run, "repeats", who.tenant, most, most_bytes)

    def count(self, tenant: str, memory: str) -> int:
        """How many responses a memory had part in."""
        query = "SELECT count(*) FROM responses WHERE tenant = ? AND memory = ?"
        return int(self._database.row(query, (tenant, memory))[0])

    def said(self, tenant: str, memory: str) -> Iterator[Any]:
        """What is kept of answers that a memory had part in, and of what they answered."""
        values = (tenant, memory)
        query = "SELECT said, body FROM responses WHERE tenant = ? AND memory = ?"
        for row in self._database.rows(query, values):
            yield json.loads(row["said"])
            yield json.loads(row["body"])
        query = "SELECT body FROM repeats WHERE tenant = ? AND memory = ?"
        yield from (json.loads(row["body"]) for row in self._database.rows(query, values))

    @staticmethod
    def drop(run: sqlite3.Connection, tenant: str, memory: str) -> int:
        """Let go of all answers that a memory had part in; how many responses that were."""
        KeptAnswers.drop_repeats(run, tenant, memory)
        place = (tenant, memory)
        gone = run.execute("DELETE FROM responses WHERE tenant = ? AND memory = ?", place)
        return gone.rowcount

    @staticmethod
    def drop_repeats(run: sqlite3.Connection, tenant: str, memory: str) -> None:
        """Answer requests that come again anew."""
        run.execute("DELETE FROM repeats WHERE tenant = ? AND memory = ?", (tenant, memory))

    @staticmethod
    def prune(run: sqlite3.Connection, before: float) -> None:
        """Let go of what is older."""
        for table in ("responses", "repeats"):
            run.execute(f"DELETE FROM {table} WHERE created < ?", (before,))
