"""The books of Book-SORT as its makers cut excerpts from them (arXiv 2410.08133).

Excerpts and positions are counted in words between white space, without chapter headings. Which
headings its makers took out is not published; the rule here was found by comparing what lies
between two segments with the positions that are published. ``Book.start`` finds an excerpt by its
segments, each of which says where the excerpt begins: most voices win.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Book", "Placed", "words_of"]

_BEGIN = re.compile(r"^\*\*\* ?START OF.*$", re.MULTILINE)
_END = re.compile(r"^\*\*\* ?END OF.*$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")

_CHAPTER = re.compile(r"(?:CHAPTER|Chapter|BOOK|PART) (?:[IVXLCDM]+|\d+)\.?(?=\s|$)")
_NUMERAL = re.compile(r"(?:[IVXLCDM]+|\d+)\.?")
_SENTENCE_END = re.compile(r"[.?!;:,—][\u201d\u2019\"'_)\]]*$")
_LONGEST_HEADING = 14
"""Words."""
_NUMERALS_KEPT = {73042: re.compile(r"\d+\.?"), 72972: re.compile("V")}
"""Book -> numerals that its makers left in the text where they stand alone in a paragraph."""

Placed = tuple[str, int]
"""A segment and the word of the excerpt at which it begins."""


def words_of(text: str, book: int) -> list[str]:
    """The words of a book without its licence and its headings.

    Args:
        text: of the file, as Project Gutenberg gives it.
        book: its number there.
    """
    words: list[str] = []
    for paragraph in _paragraphs(_without_licence(text), book):
        words += paragraph
    return words


def _without_licence(text: str) -> str:
    begin, end = _BEGIN.search(text), _END.search(text)
    return text[begin.end() if begin else 0 : end.start() if end else len(text)]


def _paragraphs(text: str, book: int) -> Iterator[list[str]]:
    """Words of every paragraph that is no heading, nor the title under a heading."""
    below_heading = False
    for paragraph in _BLANK_LINE.split(text):
        words = paragraph.split()
        if not words:
            continue
        if _is_heading(words, book):
            below_heading = True
        elif below_heading and _is_title(words):
            below_heading = False
        else:
            below_heading = False
            yield words


def _is_heading(words: Sequence[str], book: int) -> bool:
    line = " ".join(words)
    if _CHAPTER.match(line):
        return len(words) <= _LONGEST_HEADING
    kept = _NUMERALS_KEPT.get(book)
    return bool(_NUMERAL.fullmatch(line)) and not (kept and kept.fullmatch(line))


def _is_title(words: Sequence[str]) -> bool:
    line = " ".join(words)
    return len(words) <= _LONGEST_HEADING and (line.isupper() or not _SENTENCE_END.search(line))


@dataclass(frozen=True)
class Book:
    """The words of a book, and where each stands."""

    words: list[str]
    _places: dict[str, list[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places: dict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(self.words):
            places[word].append(place)
        object.__setattr__(self, "_places", places)

    def find(self, segment: str) -> list[int]:
        """The words at which a segment begins, wherever it stands."""
        wanted = segment.split()
        first = self._places.get(wanted[0], []) if wanted else []
        return [at for at in first if self.words[at : at + len(wanted)] == wanted]

    def start(self, segments: Iterable[Placed]) -> tuple[int, int] | None:
        """Where an excerpt begins.

        Args:
            segments: of the excerpt.

        Returns:
            Its first word, the earliest of those with most voices, and how many segments say so;
            None where none of them stands in the book.
        """
        votes: Counter[int] = Counter()
        for segment, position in segments:
            votes.update({at - position for at in self.find(segment) if at >= position})
        if not votes:
            return None
        best = max(votes, key=lambda start: (votes[start], -start))
        return best, votes[best]
