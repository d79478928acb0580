from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import make_tokenizer

from memplus.mplus.streaming import until_stop
from memplus.server.engine.answer_text import AnswerText
from memplus.server.engine.requests import Sampling, TokenScore
from memplus.server.engine.spelling import Spelling

TOKENIZER = make_tokenizer()


def decode(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids, skip_special_tokens=True))


SPELLING = Spelling(TOKENIZER, decode)


def ids_of(text: str) -> list[int]:
    found: list[int] = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return found


def pieces(text: str, **rules: Any) -> list[str]:
    """What is given token by token, up to the stop."""
    told = AnswerText(Sampling(1, **rules), decode)
    found = []
    tokens = ids_of(text)
    for place, token in enumerate(tokens):
        told.add(token)
        piece = told.piece(ended=told.stopped or place == len(tokens) - 1)
        found.append("" if piece is None else piece.text)
        if told.stopped:
            break
    assert "".join(found) == told.final()
    return found


def test_text_is_given_as_it_comes() -> None:
    assert pieces("abc") == ["a", "b", "c"]


def test_no_character_is_cut() -> None:
    assert pieces("aä€b") == ["a", "", "ä", "", "", "€", "b"]


def test_half_a_stop_waits_for_the_rest() -> None:
    assert pieces("a\nxb", stop=("\nQ",), strip=False) == ["a", "", "\nx", "b"]
    assert pieces("aEND b", stop=("END",)) == ["a", "", "", ""]


def test_blanks_at_both_ends_are_left_out_where_they_are_not_wanted() -> None:
    assert "".join(pieces("  a b \n")) == "a b"
    assert "".join(pieces("  a b \n", strip=False)) == "  a b \n"


@given(
    st.text(alphabet="ab \n€", min_size=1, max_size=30),
    st.lists(st.text(alphabet="ab \n€", min_size=1, max_size=3), max_size=3),
)
def test_pieces_make_the_text_that_ask_would_give(text: str, stops: list[str]) -> None:
    heads = (text[:end] for end in range(len(text) + 1))
    generated = next((head for head in heads if any(stop in head for stop in stops)), text)
    assert "".join(pieces(text, stop=tuple(stops))) == until_stop(generated, stops)


def test_a_long_answer_is_the_same_text() -> None:
    text = "".join(f"Wörter {number}, €. " for number in range(100))
    assert "".join(pieces(text, strip=False)) == text


def scored(text: str, **rules: Any) -> list[tuple[str, str]]:
    """Each piece with the texts of its tokens."""
    told = AnswerText(Sampling(1, logprobs=0, **rules), decode)
    found = []
    tokens = ids_of(text)
    for place, token in enumerate(tokens):
        told.add(token, TokenScore(token, SPELLING(token), -1.0))
        piece = told.piece(ended=told.stopped or place == len(tokens) - 1)
        if piece is not None:
            found.append((piece.text, b"".join(one.spelt for one in piece.tokens).decode()))
        if told.stopped:
            break
    return found


def test_scores_come_with_their_piece() -> None:
    assert scored("ab\ncd", stop=("\nQ",)) == [("a", "a"), ("b", "b"), ("\nc", "\nc"), ("d", "d")]


def test_all_scores_of_a_character_come_with_it() -> None:
    assert scored("a€🙂b") == [("a", "a"), ("€", "€"), ("🙂", "🙂"), ("b", "b")]


def test_tokens_of_a_stop_have_no_scores() -> None:
    assert scored("abEND", stop=("END",)) == [("a", "a"), ("b", "b")]


@pytest.mark.parametrize("text", ["€", "a "])
def test_every_token_of_an_answer_without_a_stop_has_its_score(text: str) -> None:
    told = AnswerText(Sampling(1, logprobs=0), decode)
    count = 0
    for token in ids_of(text):
        told.add(token, TokenScore(token, b"", -1.0))
        piece = told.piece(ended=False)
        count += 0 if piece is None else len(piece.tokens)
    piece = told.piece(ended=True)
    count += 0 if piece is None else len(piece.tokens)
    assert count == len(ids_of(text))
