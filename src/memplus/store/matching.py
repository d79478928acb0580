"""Which writes a text was written by, also where it lies across the border of two of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from memplus.errors import UsageError
from memplus.memory.state import Memory
from memplus.memory.written_text import WrittenText

__all__ = ["matching"]


def matching(
    texts: Iterable[WrittenText], memory: Memory, match: str | re.Pattern[str]
) -> tuple[set[int], bool]:
    """Find a text in what was written.

    Args:
        texts: of all writes, in order.
        memory: its tail is looked at as well.
        match: words, whatever their case, or an expression.

    Returns:
        Ids of the writes that hold a part of it, and whether the tail does.

    Raises:
        UsageError: an expression or words that match the empty text.
    """
    found = re.compile(re.escape(match), re.IGNORECASE) if isinstance(match, str) else match
    if found.search("") is not None:
        raise UsageError("Text to forget cannot be empty.")
    sources: dict[str, list[tuple[int, str]]] = {}
    for one in texts:
        sources.setdefault(one.source, []).append((one.id, one.text))
    if memory.tail:
        sources.setdefault(memory.tail_source, []).append((0, memory.tail_text))
    ids: set[int] = set()
    for pieces in sources.values():
        whole = "".join(text for _, text in pieces)
        spans = [hit.span() for hit in found.finditer(whole)]
        end = 0
        for number, text in pieces:
            start, end = end, end + len(text)
            if any(first < end and last > start for first, last in spans):
                ids.add(number)
    return ids - {0}, 0 in ids
