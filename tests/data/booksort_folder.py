"""A folder that looks like Book-SORT's, of two books that nobody wrote."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from random import Random

TITLES = {101: "The Lamp Of Anver", 202: "Salt And Iron"}
CHAPTERS, SENTENCES, SENTENCE_WORDS = 3, 150, 7
REAL = Path(__file__).parents[3] / "shared" / "data"
"""Where the published data lie beside the repository; absent in most places."""

_WORDS = "amber boat cliff door ember frost grain hull ink jar kite loom moss nail oar".split()


def chapter(book: int, number: int) -> list[str]:
    """Sentences that stand nowhere else."""
    random = Random(f"{book} {number}")
    return [
        f"The {random.choice(_WORDS)} of {book}x{number}x{index} met {random.choice(_WORDS)} there."
        for index in range(SENTENCES)
    ]


def words(book: int) -> list[str]:
    """A book without its headings."""
    return [w for number in range(CHAPTERS) for s in chapter(book, number) for w in s.split()]


def book_text(book: int) -> str:
    """A book as Project Gutenberg gives it."""
    parts = [
        f"CHAPTER {'I' * (number + 1)}\n\n        A TITLE OF SOME WORDS\n\n"
        + "\n\n".join(chapter(book, number))
        for number in range(CHAPTERS)
    ]
    body = "\n\n\n".join(parts)
    begin, end = "*** START OF THE BOOK ***", "*** END OF THE BOOK ***"
    return f"A licence.\n{begin}\n\n{body}\n\n{end}\nMore licence.\n"


def make_folder(
    folder: Path, lengths: tuple[int, ...] = (250, 1000), segments: tuple[int, ...] = (20,)
) -> Path:
    """Files of both books: excerpts 0 and 1 are for figures, 100 for the choice of a wording."""
    (folder / "books").mkdir(parents=True)
    for book in TITLES:
        with gzip.open(folder / "books" / f"{book}-0.txt.gz", "wt", encoding="utf-8") as file:
            file.write(book_text(book))
    _write(
        folder / "books_250-s20-n110.csv",
        ["book_idx", "book_title", "num_words"],
        [[book, title, len(words(book))] for book, title in TITLES.items()],
    )
    for length in lengths:
        for size in segments:
            _make_pairs(folder, length, size)
    return folder


def _make_pairs(folder: Path, length: int, size: int) -> None:
    rows, excerpts = [], []
    for book in TITLES:
        for index in (0, 1, 100):
            start = SENTENCE_WORDS * (7 + index)
            text = words(book)[start : start + length]
            excerpts.append([book, index, 0.5, f"*{' '.join(text)}*\n"])
            for number, (first, second) in enumerate(_places(length, size)):
                pieces = [f"*{' '.join(text[at : at + size])}*" for at in (first, second)]
                edge = _edges(length)[number]
                rows.append(
                    [book, index, number, *pieces, first, second, edge, (book + number) % 2]
                )
    names = "book_idx,excerpt_idx,segment_idx,segment_1,segment_2,seg1_pos,seg2_pos,distance_bin"
    header = [*names.split(","), "present_seg1_first"]
    _write(folder / f"segments_{length}-s{size}-n110.csv.gz", header, rows)
    if length == 250:
        header = ["book_idx", "excerpt_idx", "excerpt_pos", "excerpt_text"]
        _write(folder / f"excerpts_{length}-s{size}-n110.csv.gz", header, excerpts)


def _edges(length: int) -> list[int]:
    return [length // 4, length // 3, length // 2, length * 4 // 5]


def _places(length: int, size: int) -> list[tuple[int, int]]:
    return [(7, 7 + 7 * ((edge - 1) // 7)) for edge in _edges(length)]


def _write(path: Path, header: list[str], rows: list[list[object]]) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", *header])
        writer.writerows([number, *row] for number, row in enumerate(rows))


def put_heading(folder: Path, book: int, after: int) -> None:
    """A line that no rule takes for a heading, behind so many sentences of a book."""
    path = folder / "books" / f"{book}-0.txt.gz"
    first, *others = gzip.decompress(path.read_bytes()).decode().split("there.\n\nThe")
    sentences = [first, *others]
    head, tail = ("there.\n\nThe".join(part) for part in (sentences[:after], sentences[after:]))
    changed = f"{head}there.\n\nHere stands a heading\n\nThe{tail}"
    path.write_bytes(gzip.compress(changed.encode()))
