"""Where sentences end, in a text that may still go on.

A sentence ends at its full stop, or at the end of its paragraph. What stands behind a stop decides
whether it is one, so the last sentence of a text that goes on is not known to be whole.

This room knows words only: the standard library, no tensors and no tokenizer.
"""

from __future__ import annotations

import re

__all__ = ["TITLES", "split_sentences", "whole_sentences"]

TITLES = "Mr|Mrs|Ms|Dr|St|Prof|Capt|Col|Gen|Rev|Hon|Mme|Mlle|Messrs|Jr|Sr|vs"
"""Abbreviations that a name follows, as a pattern."""

# \u2018 to \u201d are the quotation marks of books.
_END = re.compile(r"[.!?…]+[\"'\u201d\u2019)\]_]*(?=\s+[^\sa-z])|\n[ \t\r]*\n(?=\s*\S)")
"""Before a capital letter, a digit or a quotation mark; or an empty line."""
_SHORT = re.compile(rf"(?:^|[\s(\"'\u201c\u2018\[])(?:{TITLES}|No|[A-Z])\.$")
"""An abbreviation that a name follows, or an initial."""


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of a whole text, blanks around them left out."""
    spans, rest = whole_sentences(text)
    last = _trimmed(text, rest, len(text))
    return [*spans, last] if last is not None else spans


def whole_sentences(text: str) -> tuple[list[tuple[int, int]], int]:
    """Spans of the sentences that are whole whatever follows, and where the rest begins.

    A text cut anywhere gives the same sentences if the rest of its first part is put before the
    second.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _END.finditer(text):
        end = match.end()
        if text[match.start()] == "." and _SHORT.search(text[start:end]):
            continue
        span = _trimmed(text, start, end)
        if span is not None:
            spans.append(span)
        start = end
    return spans, start


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span without blanks around it; None where there is nothing else."""
    found = text[start:end].strip()
    if not found:
        return None
    begin = start + text[start:end].index(found)
    return begin, begin + len(found)
