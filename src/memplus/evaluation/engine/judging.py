"""Judging answers. This room knows strings only."""

from __future__ import annotations

import unicodedata

__all__ = ["contains", "is_right"]


def is_right(said: str, answer: str) -> bool:
    """Whether the whole of what was said is the answer, but for case, spaces and a full stop.

    Strict on purpose: an answer that lists several values is not right, though it holds one.
    """
    return _bare(said) == _bare(answer)


def contains(said: str, answer: str) -> bool:
    """Whether the answer stands somewhere in what was said, but for case and spaces."""
    return _bare(answer) in _bare(said)


def _bare(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(" .\"'")
