"""How many bytes are kept of each tenant: responses, answers to repeated requests, items.

The database counts them itself, whatever adds or removes a row, so nobody has to read all rows to
know how many bytes they have.
"""

from __future__ import annotations

import sqlite3

__all__ = ["SCHEMA", "keep_newest", "kept_bytes"]

_COUNTED = {
    "responses": "length({0}said) + length({0}body)",
    "repeats": "length({0}body)",
    "items": "length({0}body)",
}
"""Tables, and the bytes of a row: what is kept is JSON in plain letters, each of them a byte."""


def _schema() -> str:
    parts = [
        """
CREATE TABLE IF NOT EXISTS kept_bytes (
    tenant TEXT NOT NULL, kind TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (tenant, kind)
) STRICT, WITHOUT ROWID;
"""
    ]
    for kind, size in _COUNTED.items():
        parts.append(f"""
CREATE TRIGGER IF NOT EXISTS {kind}_kept AFTER INSERT ON {kind} BEGIN
    INSERT INTO kept_bytes VALUES (new.tenant, '{kind}', {size.format("new.")})
    ON CONFLICT (tenant, kind) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS {kind}_gone AFTER DELETE ON {kind} BEGIN
    UPDATE kept_bytes SET bytes = bytes - ({size.format("old.")})
    WHERE tenant = old.tenant AND kind = '{kind}';
END;
INSERT INTO kept_bytes SELECT tenant, '{kind}', sum({size.format("")}) FROM {kind}
    WHERE NOT EXISTS (SELECT 1 FROM kept_bytes WHERE kind = '{kind}') GROUP BY tenant;
""")  # the last counts what an earlier release kept
    return "".join(parts)


SCHEMA = _schema()
"""To be made behind the tables that it counts."""


def kept_bytes(run: sqlite3.Connection, kind: str, tenant: str) -> int:
    """Bytes of a tenant's rows in one of the tables, as part of a transaction."""
    query = "SELECT bytes FROM kept_bytes WHERE tenant = ? AND kind = ?"
    row = run.execute(query, (tenant, kind)).fetchone()
    return 0 if row is None else int(row[0])


def keep_newest(
    run: sqlite3.Connection, kind: str, tenant: str, most: int, most_bytes: int
) -> None:
    """Let go of a tenant's oldest rows where there are too many, or they are too large, as part of
    a transaction.

    Args:
        run: the transaction.
        kind: the table.
        tenant: whose rows.
        most: rows.
        most_bytes: of all of them; 0: any number.
    """
    run.execute(
        f"DELETE FROM {kind} WHERE tenant = ? AND number <= (SELECT number FROM {kind} "
        "WHERE tenant = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (tenant, tenant, most),
    )
    oldest = f"DELETE FROM {kind} WHERE number = (SELECT min(number) FROM {kind} WHERE tenant = ?)"
    while 0 < most_bytes < kept_bytes(run, kind, tenant):
        if not run.execute(oldest, (tenant,)).rowcount:
            break
