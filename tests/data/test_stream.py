import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.conftest import BOOKS, words, words_of
from tests.systems.conftest import SHARED

from memplus.data.notes import make_notes
from memplus.data.stream import (
    Piece,
    RunningText,
    Stream,
    Texts,
    Told,
    cut,
    sentences_of,
    stated_at,
)
from memplus.errors import ConfigError, EmptyTextError

TEXTS = Texts.of(BOOKS, words)


def pieces(stream: Stream) -> list[str]:
    return [piece.text for piece in stream.pieces]


def test_sentences_put_together_are_the_text() -> None:
    text = 'One. "Two!" said he.\n\nstep = 3\n\nnothing at the end'
    assert "".join(sentences_of(text)) == text
    assert next(sentences_of(text)) == "One."
    assert len(list(sentences_of(text))) == 5


def test_texts_without_a_token_are_refused() -> None:
    with pytest.raises(EmptyTextError):
        Texts.of(["", " "], words)


def test_the_digest_tells_texts_and_their_borders_apart() -> None:
    digests = {Texts.of(given, words).sha256 for given in (["a. b."], ["a.", " b."], ["a. c."])}
    assert len(digests) == 3


def test_running_text_gives_every_sentence_and_then_begins_again() -> None:
    text = RunningText(TEXTS, seed=1)
    count = sum(len(sentences) for sentences in TEXTS.sentences)
    first = [text.take() for _ in range(count)]
    assert text.given == TEXTS.tokens
    assert sorted(piece.text for piece in first) == sorted(
        piece.text for one in TEXTS.sentences for piece in one
    )
    assert [text.take() for _ in range(count)] == first
    assert text.given == 2 * TEXTS.tokens


def test_the_order_follows_from_the_seed() -> None:
    def beginning(seed: int) -> list[Piece]:
        text = RunningText(TEXTS, seed)
        return [text.take() for _ in range(40)]

    assert beginning(1) == beginning(1)
    assert beginning(1) != beginning(2)


def test_a_note_stands_where_it_is_said_to_stand() -> None:
    stream = Stream(TEXTS, 0, "text")
    notes = make_notes(0, 3, "held_out")
    stream.read(2)
    told = [*stream.tell(notes[0]), *stream.tell(*notes[1:])]
    for note, place in zip(notes, told, strict=True):
        assert words_of(pieces(stream), place.start, place.end) == note.statement
        assert place.source == "text"
    assert told[1].end == told[2].start


@pytest.mark.parametrize("border", [5, 16, 40])
def test_a_note_is_told_across_a_border(border: int) -> None:
    stream = Stream(TEXTS, 3, "text")
    for note in make_notes(1, 5, "held_out"):
        told = stream.tell_across(border, note)
        assert told.start // border < (told.end - 2) // border
        assert (told.start + 1) // border < (told.end - 1) // border
        assert words_of(pieces(stream), told.start, told.end) == note.statement


def test_a_text_without_a_place_before_a_border_is_an_error() -> None:
    texts = Texts.of(["word " * 400], words)
    with pytest.raises(ConfigError, match="multiple of 400"):
        Stream(texts, 0, "text").tell_across(400, make_notes(1, 1, "held_out")[0])


@given(st.text(max_size=40), st.data())
def test_a_piece_is_cut_into_pieces_that_are_tokenised_as_it_was(
    text: str, data: st.DataObject
) -> None:
    # One token per byte, so that a cut may fall into a letter.
    text = f"{text} end"
    piece = Piece(text, SHARED.reference([text])[0])
    tokens = data.draw(st.integers(1, len(piece) - 1))
    parts = cut(piece, tokens, SHARED.reference)
    assert parts is not None
    left, right = parts
    assert "".join(part.text for part in [*left, *right]) == text
    assert sum(map(len, left)) >= tokens
    assert sum(map(len, left)) - tokens < 4
    for part in [*left, *right]:
        assert SHARED.reference([part.text]) == [part.ends]
    assert SHARED.encode([part.text for part in [*left, *right]]) == SHARED.encode([text])


def by_space(texts: list[str]) -> list[list[int]]:
    """As some tokenizers do: white space but for the last one, words, single white space."""
    found = [[m.end() for m in re.finditer(r"\s+(?!\S)| ?\w+|\s", text)] for text in texts]
    return [[*ends[:-1], len(text)] if ends else [] for ends, text in zip(found, texts)]


def test_white_space_before_a_word_stands_apart_where_it_must() -> None:
    text = "one\n\n\ntwo"
    piece = Piece(text, by_space([text])[0])
    assert piece.ends == [3, 5, 6, 9]
    parts = cut(piece, 3, by_space)
    assert parts is not None
    left, right = parts
    assert [part.text for part in left] == ["one\n\n", "\n"]
    assert [part.text for part in right] == ["two"]


def test_a_piece_that_is_read_otherwise_in_parts_is_left_whole() -> None:
    def backwards(texts: list[str]) -> list[list[int]]:
        return [[len(text) - 1, len(text)] for text in texts]

    assert cut(Piece("four", [3, 4]), 1, backwards) is None


def test_the_place_of_a_value_is_that_of_its_tokens() -> None:
    text = " Ann Lee lives in Bad Ems."
    piece = Piece(text, [4, 8, 14, 17, 21, 25, 26])
    told = Told("text", 100, 107)
    found = stated_at(told, piece, ["absent", "bad EMS"])
    assert (found.value, found.value_end) == (104, 106)
    assert found.stated == (104, 106)
    assert stated_at(told, piece, ["Bad Ems."]).stated == (104, 107)
    assert stated_at(told, piece, ["ive"]).stated == (102, 103)


def test_a_value_that_stands_nowhere_is_stated_by_all_of_it() -> None:
    told = Told("text", 100, 102)
    assert stated_at(told, Piece(" No more", [3, 8]), ["Ulm", ""]) == told
    assert told.stated == (100, 102)
    assert Told("text", 0, 9, value=4).stated == (4, 9)


def test_a_text_is_told_as_one_piece() -> None:
    stream = Stream(TEXTS, 0, "s")
    stream.read(2)
    before = stream.tokens
    told = stream.tell_text("Two sentences. Here.")
    assert (told.source, told.start, told.end) == ("s", before, stream.tokens)
    assert stream.pieces[-1].text == " Two sentences. Here."
    assert len(stream.pieces[-1]) == told.end - told.start
