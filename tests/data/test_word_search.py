import pytest

from memplus.data import word_search
from memplus.data.word_search import WordSearch, best_of, require_installed, words_of
from memplus.errors import LibraryMissingError

pytest.importorskip("bm25s", reason="an optional library that the dev requirements bring")

TEXTS = ["The heron stood in a shallow pond.", "It rained.", "A pond, a pond and a boat.", "of the"]


def scores(question: str, texts: list[str] = TEXTS) -> list[float]:
    return WordSearch(words_of(texts)).scores(words_of([question])[0])


def test_words_are_small_letters_without_the_commonest() -> None:
    assert words_of(["The Heron's pond, 7 m²!", ""]) == [["heron", "s", "pond", "7", "m²"], []]


def test_a_text_is_found_by_its_words_and_rare_ones_count_more() -> None:
    found = scores("Where is the heron?")
    assert [one > 0 for one in found] == [True, False, False, False]
    found = scores("Is there a heron or a pond?")
    assert found[0] > found[2] > 0 == found[1] == found[3]


@pytest.mark.parametrize("texts", [[], ["of the"], ["", "the"]])
def test_texts_without_words_are_never_found(texts: list[str]) -> None:
    assert scores("heron", texts) == [0.0] * len(texts)


def test_a_question_of_the_commonest_words_finds_nothing() -> None:
    assert scores("And the?") == scores("Zebra?") == [0.0] * 4


def test_the_best_come_first_of_equals_the_earlier_and_nothing_at_all_never() -> None:
    assert best_of([0.0, 2.0, 3.0, 2.0, -1.0], 9) == [2, 1, 3]
    assert best_of([1.0, 1.0], 1) == [0]
    assert best_of([], 3) == []


def test_a_library_that_is_missing_is_named_with_what_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(word_search, "find_spec", lambda name: None)
    with pytest.raises(LibraryMissingError, match=r"memplus\[bm25\]"):
        require_installed()
