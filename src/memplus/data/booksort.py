"""Book-SORT (arXiv 2410.08133): pairs of segments of books, and the excerpts that hold them.

The folder holds what is published: ``segments_{L_E}-s{L_S}-n110.csv.gz``, the titles in
``books_250-s20-n110.csv``, ``excerpts_250-s{L_S}-n110.csv.gz``, and ``books/{number}-0.txt.gz``.
Excerpts of 250 words are taken from their file, longer ones are cut from the books. Lengths and
positions are words between white space.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from memplus.data.booksort_books import Book, words_of
from memplus.data.documents import read_document
from memplus.errors import BenchmarkFileError, ConfigError

__all__ = ["EXCERPT_WORDS", "SEGMENT_WORDS", "TEST", "VALIDATION", "BookSort", "Excerpt", "Pair"]

EXCERPT_WORDS = (250, 1000, 2500, 10_000, 20_000)
SEGMENT_WORDS = (20, 50)
TEST, VALIDATION = range(100), range(100, 110)
"""Excerpts of a book: for figures, and for the choice of a wording."""

_GIVEN = 250
"""Words of the excerpts that are published as they are."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two segments of an excerpt, the earlier one first."""

    earlier: str
    later: str
    earlier_at: int
    """Word of the excerpt at which it begins."""
    later_at: int
    bin_end: int
    """The distance between the two is less than this, and more than the last bin's."""
    earlier_shown_first: bool
    """In the order that is published."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a book and the pairs of segments that are asked about it."""

    book: int
    """Its number at Project Gutenberg."""
    title: str
    index: int
    text: str
    """Words, with a blank between two."""
    pairs: tuple[Pair, ...]
    agreed: int
    """Of the two segments of every pair, how many say that the excerpt begins where it was cut."""

    @property
    def exact(self) -> tuple[bool, ...]:
        """Of each pair, whether both segments stand where they should; an excerpt that was cut
        from a book may hold a heading that its makers took out, or lack one."""
        words = self.text.split()
        return tuple(
            _stands(words, pair.earlier, pair.earlier_at)
            and _stands(words, pair.later, pair.later_at)
            for pair in self.pairs
        )


def _stands(words: list[str], segment: str, at: int) -> bool:
    wanted = segment.split()
    return words[at : at + len(wanted)] == wanted


class BookSort:
    """The whole of Book-SORT.

    Args:
        folder: holds its files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._books: dict[int, Book] = {}

    @cached_property
    def titles(self) -> dict[int, str]:
        """Book -> title, in the published order.

        Raises:
            NotFoundError, StorageError: the file is missing, or cannot be read.
            BenchmarkFileError: it is something else.
        """
        path = self.folder / "books_250-s20-n110.csv"
        return dict(_rows(path, lambda row: (int(row["book_idx"]), row["book_title"])))

    def pairs(self, excerpt_words: int, segment_words: int) -> dict[tuple[int, int], list[Pair]]:
        """(Book, excerpt) -> its pairs, one a bin, bins rising.

        Args:
            excerpt_words: of ``EXCERPT_WORDS``.
            segment_words: of ``SEGMENT_WORDS``.

        Raises:
            ConfigError: there are no such pairs.
            NotFoundError, StorageError: the file is missing, or cannot be read.
            BenchmarkFileError: it is something else.
        """
        for field, given, known in (
            ("lengths", excerpt_words, EXCERPT_WORDS),
            ("segments", segment_words, SEGMENT_WORDS),
        ):
            if given not in known:
                reason = f"Book-SORT has {', '.join(map(str, known))} words"
                raise ConfigError(field, value=given, reason=reason)
        path = self.folder / f"segments_{excerpt_words}-s{segment_words}-n110.csv.gz"
        found: dict[tuple[int, int], list[Pair]] = {}
        for place, pair in _rows(path, _pair):
            found.setdefault(place, []).append(pair)
        return {place: sorted(pairs, key=lambda one: one.bin_end) for place, pairs in found.items()}

    def excerpts(
        self, excerpt_words: int, segment_words: int, indices: range = TEST
    ) -> Iterator[Excerpt]:
        """The excerpts of a length, book by book.

        Args:
            excerpt_words: of ``EXCERPT_WORDS``.
            segment_words: of ``SEGMENT_WORDS``.
            indices: which excerpts of each book.

        Raises:
            ConfigError: there are no such excerpts.
            NotFoundError, StorageError: a file is missing, or cannot be read.
            BenchmarkFileError: it is something else, or lacks a book or an excerpt.
        """
        known = self.pairs(excerpt_words, segment_words)
        given = self._given(segment_words) if excerpt_words == _GIVEN else None
        for (book, index), pairs in known.items():
            if index not in indices:
                continue
            if given is None:
                text, agreed = self._cut(book, pairs, excerpt_words)
            elif (book, index) in given:
                text, agreed = given[book, index], 2 * len(pairs)
            else:
                path = self._given_path(segment_words)
                raise _wrong(path, f"it lacks excerpt {index} of book {book}")
            yield Excerpt(book, self._title(book), index, text, tuple(pairs), agreed)

    def _title(self, book: int) -> str:
        if book not in self.titles:
            raise _wrong(self.folder, f"no file names the title of book {book}")
        return self.titles[book]

    def _given_path(self, segment_words: int) -> Path:
        return self.folder / f"excerpts_{_GIVEN}-s{segment_words}-n110.csv.gz"

    def _given(self, segment_words: int) -> dict[tuple[int, int], str]:
        return dict(
            _rows(
                self._given_path(segment_words),
                lambda row: (
                    (int(row["book_idx"]), int(row["excerpt_idx"])),
                    " ".join(_bare(row["excerpt_text"]).split()),
                ),
            )
        )

    def _cut(self, number: int, pairs: list[Pair], excerpt_words: int) -> tuple[str, int]:
        """An excerpt of a book, and how many of its segments agree about its beginning."""
        book = self._book(number)
        segments = [
            placed
            for pair in pairs
            for placed in ((pair.earlier, pair.earlier_at), (pair.later, pair.later_at))
        ]
        found = book.start(segments)
        if found is None:
            raise _wrong(self._book_path(number), "it holds no segment of an excerpt")
        start, agreed = found
        return " ".join(book.words[start : start + excerpt_words]), agreed

    def _book_path(self, number: int) -> Path:
        return self.folder / "books" / f"{number}-0.txt.gz"

    def _book(self, number: int) -> Book:
        if number not in self._books:
            text = read_document(self._book_path(number)).text
            self._books[number] = Book(words_of(text, number))
        return self._books[number]


def _pair(row: Mapping[str, str]) -> tuple[tuple[int, int], Pair]:
    pair = Pair(
        earlier=_bare(row["segment_1"]),
        later=_bare(row["segment_2"]),
        earlier_at=int(row["seg1_pos"]),
        later_at=int(row["seg2_pos"]),
        bin_end=int(row["distance_bin"]),
        earlier_shown_first=bool(int(row["present_seg1_first"])),
    )
    if not pair.earlier_at < pair.later_at:
        raise ValueError("segment_1 is not the earlier one")
    return (int(row["book_idx"]), int(row["excerpt_idx"])), pair


def _bare(text: str) -> str:
    """A text of the files without the asterisk that stands at either end."""
    return text.strip().removeprefix("*").removesuffix("*").strip()


def _rows(path: Path, parse: Callable[[Mapping[str, str]], Row]) -> list[Row]:
    """What ``parse`` makes of every row of a file with a header."""
    rows = csv.DictReader(io.StringIO(read_document(path).text, newline=""), strict=True)
    try:
        found = [parse(row) for row in rows]
    except KeyError as error:
        raise _wrong(path, f"it has no column {error.args[0]}") from error
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise _wrong(path, f"line {rows.line_num}: {error}") from error
    if not found:
        raise _wrong(path, "it has no rows")
    return found


def _wrong(path: Path, reason: str) -> BenchmarkFileError:
    return BenchmarkFileError(path, benchmark="Book-SORT", reason=reason)
