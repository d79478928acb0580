import pytest
from tests.data.booksort_folder import book_text, chapter, words

from memplus.data.booksort_books import Book, words_of


def test_a_book_is_its_words_without_licence_and_headings() -> None:
    assert words_of(book_text(101), 101) == words(101)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("CHAPTER IV\nTHE STORM\n\nIt rained.", "It rained."),
        ("CHAPTER IV\n\nThe Storm\n\nIt rained.", "It rained."),
        ("CHAPTER IV\n\nIt rained.", "It rained."),
        ("Chapter 12.\n\nIt rained.", "It rained."),
        ("IV\n\nIt rained.", "It rained."),
        ("12\n\nIt rained.", "It rained."),
        ("PART of it was gone.", "PART of it was gone."),
        ("She said\n\nThe Storm\n\nIt rained.", "She said The Storm It rained."),
        ("CHAPTER I\n\nI\n\nIt rained.", "It rained."),
    ],
)
def test_a_heading_and_the_title_under_it_are_no_text(text: str, left: str) -> None:
    assert " ".join(words_of(text, 1)) == left


def test_two_books_keep_the_numerals_that_their_excerpts_hold() -> None:
    assert words_of("12\n\nIt rained.", 73042) == ["12", "It", "rained."]
    assert words_of("CHAPTER 3\n\n1\n\nIt rained.", 73042) == ["It", "rained."]
    assert words_of("V\n\nIt rained.\n\nVI\n\nMore.", 72972) == ["V", "It", "rained.", "More."]


def test_segments_vote_for_where_their_excerpt_begins() -> None:
    book = Book(words(101))
    first, second, third = (chapter(101, 1)[at] for at in (3, 5, 8))
    right = book.find(first)[0] - 21
    assert book.start([(first, 21), (second, 35), (third, 57)]) == (right, 2)


def test_a_segment_that_stands_nowhere_has_no_voice() -> None:
    book = Book("a b a b c".split())
    assert book.find("a b") == [0, 2]
    assert book.find("") == []
    assert book.start([("x y", 3)]) is None
    assert book.start([("a b", 0), ("c", 2)]) == (2, 2)
    assert book.start([("a", 1)]) == (1, 1), "an excerpt does not begin before the book"
