"""When what is written is put elsewhere, and how much of the past is kept."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """All in bytes but ``snapshots``."""

    log: int = 16 << 20
    """A commit that finds the log about this long becomes a checkpoint; opening reads it all."""
    segment: int = 16 << 20
    """Rows in memory beyond this go to a segment; smaller segments are joined with the next."""
    snapshots: float = 1.0
    """Log and rows in memory may also become this many times as long as the last snapshot. A large
    model's holds gigabytes of pool, and is not written again for every chunk."""
    history: int = 1 << 30
    """Snapshots and logs of earlier states kept for ``rollback``, oldest given up first."""
