"""How long a server has lived: the time by which what it keeps grows old.

The clock of a machine can be set years ahead and back again. What is kept is stamped by a clock of
the server's own instead, which begins as the machine's and then goes on with its steady one, so
that nothing is taken for old, or for new, because of what the day is said to be. For the time in
which no server ran the machine's clock is believed, up to a week: a clock that was set ahead
meanwhile makes nothing older than that.
"""

from __future__ import annotations

import sqlite3
import time

__all__ = ["SCHEMA", "Clock"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS lived (
    one INTEGER PRIMARY KEY CHECK (one = 1), lived REAL NOT NULL, day REAL NOT NULL
) STRICT;
"""
_LONGEST_PAUSE = 7 * 86_400.0
_KEEP_SECONDS = 60.0
_KEEP = (
    "INSERT INTO lived VALUES (1, ?, ?) ON CONFLICT (one) DO UPDATE "
    "SET lived = max(lived, excluded.lived), day = excluded.day"
)


def steady() -> float:
    """Seconds of a clock that nobody sets."""
    return time.monotonic()


class Clock:
    """Seconds that a server's database has lived, with 1970 as their beginning.

    Args:
        connection: of the database, which has the table; in SQL ``lived()`` is ``now()``.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT lived, day FROM lived").fetchone()
        day = time.time()
        lived, then = (day, day) if row is None else row
        self._offset = lived + min(max(0.0, day - then), _LONGEST_PAUSE) - steady()
        self._kept: float | None = None
        connection.create_function("lived", 0, lambda: self.now())

    def now(self) -> float:
        """It never goes back while a server runs."""
        return steady() + self._offset

    def keep(self, connection: sqlite3.Connection, *, surely: bool = False) -> None:
        """Note it for the next process, as part of a transaction; once a minute is enough."""
        now = steady()
        if surely or self._kept is None or now - self._kept >= _KEEP_SECONDS:
            connection.execute(_KEEP, (self.now(), time.time()))
            self._kept = now
