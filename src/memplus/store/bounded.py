"""What a database of unknown origin may do: little, and for a bounded time.

A file of SQLite is a program: views, triggers, indexes on expressions and damaged trees run when
it is read, for ever if they like, inside C where Ctrl-C is not heard. So nothing is read before
the schema is known to be ours to the letter, and every statement has a budget.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memplus.errors import CorruptMemoryError

__all__ = ["Budget", "Schema", "bound", "require_schema", "schema_of"]

_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1 << 26,  # one row; a chunk's text has some kilobytes
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 10_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 32,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 20,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 2,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 10_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
}
_SETTINGS = ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0")
_STRIDE = 10_000
_LEAST_STEPS = 2_000_000
_STEPS_PER_BYTE = 4
"""A row takes some fifteen steps and at least forty bytes."""

Schema = list[tuple[str, str, str, str | None]]


class Budget:
    """Steps of SQLite's machine that one statement may take, by the size of the file.

    Args:
        connection: is watched from now on.
        path: its file.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._left: int | None = None
        connection.set_progress_handler(self._spend, _STRIDE)

    def renew(self) -> None:
        """Another statement begins."""
        self._left = None  # counted where a statement is long: most take fewer steps than a stride

    def _spend(self) -> bool:
        self._left = (self._allowed() if self._left is None else self._left) - 1
        return self._left < 0

    def _allowed(self) -> int:
        size = sum(
            file.stat().st_size
            for file in (self.path, self.path.with_name(f"{self.path.name}-wal"))
            if file.exists()
        )
        return (_LEAST_STEPS + _STEPS_PER_BYTE * size) // _STRIDE

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A block that runs statements.

        Raises:
            CorruptMemoryError: one of them took more steps than the file's size explains.
            KeyboardInterrupt: while SQLite was at work, which by itself would call it an error.
        """
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_INTERRUPT:
                raise
            spent = self._left is not None and self._left < 0
            if not spent:  # what a signal's handler raised in ``_spend`` is lost in C
                raise KeyboardInterrupt from error
            reason = "reading it takes more work than its size explains"
            raise CorruptMemoryError(self.path, reason=reason) from error


def bound(connection: sqlite3.Connection) -> None:
    """Switch off what a file could use against its reader."""
    for limit, most in _LIMITS.items():
        connection.setlimit(limit, most)
    for setting in _SETTINGS:
        connection.execute(f"PRAGMA {setting}")


def schema_of(connection: sqlite3.Connection) -> Schema:
    """Everything that a database defines: kind, name, table and statement."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    return [tuple(row) for row in connection.execute(query)]


def require_schema(connection: sqlite3.Connection, expected: Schema, path: Path) -> None:
    """Refuse a database that defines anything else than ``expected``.

    Raises:
        CorruptMemoryError: naming the first difference.
    """
    found = schema_of(connection)
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        raise CorruptMemoryError(path, reason=f"its encoding is {encoding}")
    if found == expected:
        return
    for entry in found:
        if entry not in expected:
            kind, name, table, _ = entry
            named = {one[:2] for one in expected}
            what = "is not as it should be" if (kind, name) in named else "does not belong there"
            place = "" if table == name else f" of its table {table!r}"
            raise CorruptMemoryError(path, reason=f"the {kind} {name!r}{place} {what}")
    missing = next(entry for entry in expected if entry not in found)
    raise CorruptMemoryError(path, reason=f"its {missing[0]} {missing[1]!r} is missing")
