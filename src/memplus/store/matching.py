"""Which writes a text was written by, also where it lies across the border of two of them.

Texts that Unicode calls canonically equivalent are the same text here: an accented letter may be
one character or a letter and a mark.
"""

from __future__ import annotations

import bisect
import itertools
import re
import unicodedata
from collections.abc import Iterable

from memplus.errors import UsageError
from memplus.memory.state import Memory
from memplus.memory.written_text import WrittenText

__all__ = ["holds", "matching"]

_HANGUL_VOWEL, _HANGUL_END = "\u1161", "\u11c2"
"""The first and the last character that join a Hangul syllable."""
_EMPTY = "Text to forget cannot be empty."


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
        UsageError: an expression or words that match the empty text, or nothing but such.
    """
    found, empty = _expression(match), False
    sources: dict[str, list[tuple[int, str]]] = {}
    for one in texts:
        sources.setdefault(one.source, []).append((one.id, one.text))
    if memory.tail:
        sources.setdefault(memory.tail_source, []).append((0, memory.tail_text))
    ids: set[int] = set()
    for pieces in sources.values():
        spans = _spans(found, "".join(text for _, text in pieces))
        end = 0
        for number, text in pieces:
            start, end = end, end + len(text)
            if any(first < end and last > start for first, last in spans if first < last):
                ids.add(number)
        empty = empty or any(first == last for first, last in spans)
    if empty and not ids:
        raise UsageError(_EMPTY)
    return ids - {0}, 0 in ids


def holds(text: str, match: str | re.Pattern[str]) -> bool:
    """Whether one text holds what ``matching`` would look for.

    Raises:
        UsageError: an expression or words that match the empty text.
    """
    hits = _expression(match).finditer(unicodedata.normalize("NFC", text))
    return any(hit.start() < hit.end() for hit in hits)


def _expression(match: str | re.Pattern[str]) -> re.Pattern[str]:
    if isinstance(match, str):
        found = re.compile(re.escape(unicodedata.normalize("NFC", match)), re.IGNORECASE)
    elif isinstance(match, re.Pattern) and isinstance(match.pattern, str):
        found = re.compile(unicodedata.normalize("NFC", match.pattern), match.flags)
    else:
        raise UsageError(f"What is looked for is text or an expression of text, not {match!r}.")
    if found.search("") is not None:
        raise UsageError(_EMPTY)
    return found


def _spans(found: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    """Where an expression is found in the text's normal form: first and after last character."""
    if unicodedata.is_normalized("NFC", text):
        return [hit.span() for hit in found.finditer(text)]
    clusters = _clusters(text)
    normal = [unicodedata.normalize("NFC", cluster) for cluster in clusters]
    starts = [0]  # of the clusters in the normal form, and where they lie in the text
    places = [0]
    for cluster, made in zip(clusters, normal, strict=True):
        starts.append(starts[-1] + len(made))
        places.append(places[-1] + len(cluster))
    spans: list[tuple[int, int]] = []
    for hit in found.finditer("".join(normal)):
        first = bisect.bisect_right(starts, hit.start()) - 1
        last = bisect.bisect_left(starts, hit.end())
        spans.append((places[first], places[last]))
    return spans


def _clusters(text: str) -> list[str]:
    """The text in pieces that have normal forms of their own: a letter, and its marks."""
    borders = [at for at, char in enumerate(text) if not _joins_before(char)]
    if text and borders[:1] != [0]:
        borders.insert(0, 0)
    return [text[first:last] for first, last in itertools.pairwise([*borders, len(text)])]


def _joins_before(char: str) -> bool:
    """Whether a character may become one with what stands before it."""
    return unicodedata.category(char)[0] == "M" or _HANGUL_VOWEL <= char <= _HANGUL_END
