"""When two wordings are the same answer. This room knows strings only."""

from __future__ import annotations

import unicodedata

__all__ = ["bare", "same_wording"]


def bare(text: str) -> str:
    """A text without what does not count in an answer: case, spaces, quotes, a full stop."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(" .\"'")


def same_wording(said: str, wanted: str) -> bool:
    """Whether two texts are the same but for case, spaces, quotes and a full stop."""
    return bare(said) == bare(wanted)
