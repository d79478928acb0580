"""What a write said, for memories that keep it, and what no text can be."""

from __future__ import annotations

from dataclasses import dataclass

from memplus.errors import BrokenTextError, UsageError

__all__ = ["WrittenText", "require_text"]


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


def require_text(text: str, what: str) -> None:
    """Refuse what no file can hold as UTF-8.

    Args:
        text: may hold half a character, as the name of a file in another encoding does.
        what: names it in the error.

    Raises:
        UsageError: it is no string.
        BrokenTextError: it holds half a character.
    """
    if not isinstance(text, str):
        raise UsageError(f"{what} must be a string, not {type(text).__name__}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise BrokenTextError(what, offset=error.start, code=code) from error
