"""A sentence that is too long for the model, in parts that are not.

What goes by the name of a sentence may be a list, a table or a text without blanks, of any length.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["parted"]

_WORD = re.compile(r"\S+")


def parted(text: str, fits: Callable[[str], bool]) -> list[str]:
    """A text, or its halves, until each of them fits.

    It is cut at a blank, which no part keeps, and in the middle of a word only where that word
    alone is too long.

    Args:
        text: without blanks around it.
        fits: whether a part is short enough; one character always is.
    """
    if len(text) < 2 or fits(text):
        return [text]
    words = [word.start() for word in _WORD.finditer(text)]
    at = words[len(words) // 2] if len(words) > 1 else len(text) // 2
    return [one for half in (text[:at].rstrip(), text[at:]) for one in parted(half, fits)]
