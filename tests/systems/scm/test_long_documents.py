import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.systems.scm.tiny import small

from memplus.errors import EmptyTextError
from memplus.systems.scm.long_documents import (
    Lengths,
    pieces_of_document,
    summarise_document,
)


def words(text: str) -> int:
    return len(text.split())


class Model:
    """Says a numbered summary of so many words, and keeps what it was asked."""

    def __init__(self, length: int = 5) -> None:
        self.length = length
        self.asked: list[tuple[str, int]] = []

    def __call__(self, prompt: str, most: int) -> str:
        self.asked.append((prompt, most))
        return f"s{len(self.asked)} " + "x " * (self.length - 1)


@given(st.lists(st.sampled_from(["a b. ", "c d e. ", "f g h i j k l. "])), st.integers(1, 12))
def test_pieces_hold_all_of_a_document_and_are_cut_behind_sentences(
    sentences: list[str], longest: int
) -> None:
    text = "".join(sentences)
    pieces = pieces_of_document(text, longest, words)
    assert " ".join(pieces).split() == text.split()
    assert all(words(one) <= longest or one.count(".") == 1 for one in pieces)


def test_each_piece_has_the_one_before_it_as_background() -> None:
    model = Model()
    text = "One is here. Two is a bit longer than one is here. Three."
    lengths = Lengths(piece=9, background=5, words=50, group=100)
    found = summarise_document(text, model, words, lengths)
    first, second, third, last = (prompt for prompt, _ in model.asked)
    assert "background" not in first
    assert "One is here." in second.partition("Section:")[0]
    # The second piece is long, so it is given as its summary.
    assert "s2" in third.partition("Section:")[0]
    assert all(name in last for name in ("s1", "s2", "s3"))
    assert [len(level) for level in found.levels] == [3, 1]
    assert found.text.startswith("s4")


def test_levels_go_on_until_one_summary_is_left() -> None:
    model = Model(5)
    text = "".join(f"word{number} and another. " for number in range(16))
    found = summarise_document(text, model, words, Lengths(piece=3, group=10, words=9))
    assert [len(level) for level in found.levels] == [16, 8, 4, 2, 1]
    assert model.asked[16][1] == 1000
    assert model.asked[-1][1] == 1500


def test_summaries_that_are_too_long_for_company_come_to_an_end_too() -> None:
    text = "".join(f"word{number} and another. " for number in range(5))
    found = summarise_document(text, Model(50), words, Lengths(piece=3, group=10, words=9))
    assert [len(level) for level in found.levels] == [5, 3, 2, 1]


def test_a_document_of_one_piece_is_summarised_once_more_and_an_empty_one_refused() -> None:
    found = summarise_document("Short.", Model(), words)
    assert [len(level) for level in found.levels] == [1, 1]
    with pytest.raises(EmptyTextError):
        summarise_document(" ", Model(), words)


def test_the_system_summarises_with_its_model() -> None:
    lengths = Lengths(piece=60, background=20, words=2, group=40)
    found = small().summarise("The gate is red. " * 8, lengths)
    assert found.text
    assert len(found.levels[0]) > 1
