"""A text is found wherever it lies, in whatever form Unicode writes it."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.fakes import FakeHost

from memplus.errors import UsageError
from memplus.memory.written_text import WrittenText
from memplus.store.matching import matching

HOST = FakeHost()
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def found(pieces: list[str], match: str | re.Pattern[str], tail: str = "") -> tuple[set[int], bool]:
    memory = HOST.new_memory()
    memory.tail, memory.tail_source, memory.tail_text = [1] if tail else [], "a", tail
    texts = [WrittenText(n, "a", 0, 1, 0, piece, (1,), 0.0) for n, piece in enumerate(pieces, 1)]
    return matching(texts, memory, match)


@pytest.mark.parametrize("said", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("asked", [COMPOSED, DECOMPOSED, COMPOSED.upper()])
def test_composed_and_decomposed_letters_are_the_same(said: str, asked: str) -> None:
    assert found(["Tea.", f"One {said}, please.", "Cafes."], asked) == ({2}, False)
    assert found(["Tea."], asked, tail=f"a {said}") == (set(), True)
    assert found(["Tea.", f"x{said}"], re.compile(f"{asked[:3]}.$", re.IGNORECASE)) == (
        {2},
        False,
    )


def test_a_letter_without_its_mark_is_another() -> None:
    assert found([f"One {DECOMPOSED}, please."], "cafe,") == (set(), False)


def test_a_letter_cut_from_its_mark_at_the_border_of_two_writes_is_found() -> None:
    pieces = ["One cafe", "\u0301, please", ". Two e", "\u0301clairs."]
    assert found(pieces, COMPOSED) == ({1, 2}, False)
    assert found(pieces, "\u00e9clair") == ({3, 4}, False)
    assert found(["\u1112\u1161", "\u11ab"], "\ud55c") == ({1, 2}, False)  # a Hangul syllable


def test_places_are_those_in_the_text_that_was_written() -> None:
    before = DECOMPOSED * 5  # shorter in its normal form
    pieces = [before, "key", before, "door", "e"]
    assert found(pieces, "key") == ({2}, False)
    assert found(pieces, "door") == ({4}, False)
    assert found(pieces, "doore") == ({4, 5}, False)


LETTERS = st.text(
    st.sampled_from("aeE\u0301\u0327\u00e9\u1112\u1161\u11ab\ud55c\ud558 "), max_size=8
)


@given(st.lists(LETTERS, min_size=1, max_size=4), LETTERS)
def test_it_finds_what_a_search_in_the_normal_form_finds(pieces: list[str], asked: str) -> None:
    plain = unicodedata.normalize("NFC", asked)
    whole = unicodedata.normalize("NFC", "".join(pieces))
    if not plain:
        return
    ids, _ = found(pieces, asked)
    assert bool(ids) == (plain.lower() in whole.lower())


@pytest.mark.parametrize("match", ["", re.compile("x*")])
def test_what_matches_everywhere_is_refused(match: str | re.Pattern[str]) -> None:
    with pytest.raises(UsageError, match="empty"):
        found(["a"], match)


@pytest.mark.parametrize("match", [5, b"x", re.compile(b"x")])
def test_what_is_no_text_is_not_looked_for(match: Any) -> None:
    with pytest.raises(UsageError, match="expression of text"):
        found(["a text"], match)


@pytest.mark.parametrize("match", [r"\b", r"(?=tea)", r"$|nowhere"])
def test_an_expression_that_holds_no_character_forgets_nothing(match: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        found(["One tea.", "Two teas."], re.compile(match), tail="three")
    # Empty places beside those that hold something are passed over.
    assert found(["One tea.", "Two."], re.compile(r"\b|tea")) == ({1}, False)
