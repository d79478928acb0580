"""What a write said, for memories that keep it.

Shapes: none.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WrittenText"]


@dataclass(frozen=True)
class WrittenText:
    """One write's text and where it stands in its source."""

    id: int
    source: str
    start: int
    """First token, counted from the beginning of the source."""
    tokens: int
    first_char: int
    """First character, counted from the beginning of the source."""
    text: str
    ids: tuple[int, ...]
    time: float
    """When it was written, in seconds since 1970."""
