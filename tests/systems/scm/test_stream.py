from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from time import process_time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memplus.systems.scm.stream import Chunk, Stream, Turn, Waiting, shortened

TEXT = (
    "The gate is red. Nobody came!\nIt rained (for days). The keeper slept and slept. So it went."
)


def bytewise(text: str) -> list[int]:
    return list(range(1, len(text) + 1))


def cut(
    pieces: list[str], tokens: int, ends: Callable[[str], list[int]] = bytewise
) -> tuple[list[Chunk], Waiting]:
    waiting, chunks = Waiting("text", 5), list[Chunk]()
    for piece in pieces:
        waiting = waiting.add(piece, ends(piece))
        found, waiting = waiting.cut(tokens)
        chunks += found
    return chunks, waiting


def test_a_turn_ends_behind_a_sentence_of_its_second_half_or_where_it_is_full() -> None:
    chunks, waiting = cut([TEXT], 32)
    assert [one.observation for one in chunks] == [
        "The gate is red. Nobody came!",
        "\nIt rained (for days).",
        " The keeper slept and slept.",
    ]
    assert waiting.text == " So it went."
    assert [one.observation for one in cut(["abcdefgh"], 3)[0]] == ["abc", "def"]


@given(st.lists(st.integers(0, len(TEXT))), st.integers(1, 50))
def test_how_a_text_comes_in_pieces_does_not_change_its_turns(cuts: list[int], tokens: int) -> None:
    places = [0, *sorted(cuts), len(TEXT)]
    pieces = [TEXT[a:b] for a, b in pairwise(places)]
    chunks, waiting = cut(pieces, tokens)
    assert (chunks, waiting) == cut([TEXT], tokens)
    assert "".join(one.observation for one in chunks) + waiting.text == TEXT
    assert all(one.length == len(one.observation) <= tokens for one in chunks)
    starts = [5 + sum(one.length for one in chunks[:place]) for place in range(len(chunks))]
    assert [one.start for one in chunks] == starts


@pytest.mark.parametrize("tokens", [2, 3])
def test_tokens_that_end_inside_a_character_stay_together_with_it(tokens: int) -> None:
    (chunk,), rest = Waiting("text").add("aé b", [1, 2, 2, 3, 4]).cut(tokens)
    assert (chunk.observation, chunk.length) == ("aé", 3)
    assert rest == Waiting("text", 3, " b", (1, 2))


def in_bytes(text: str) -> list[int]:
    """Where tokens end that are bytes."""
    return [place for place, one in enumerate(text, 1) for _ in one.encode()]


@given(st.text("a .\né😀", max_size=60), st.lists(st.integers(0, 60)), st.integers(1, 20))
def test_every_turn_has_the_tokens_of_its_characters(
    text: str, cuts: list[int], tokens: int
) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    chunks, waiting = cut(pieces, tokens, in_bytes)
    assert (chunks, waiting) == cut([text], tokens, in_bytes)
    assert "".join(one.observation for one in chunks) + waiting.text == text
    start = 5
    for one in chunks:
        assert (one.start, one.length) == (start, len(one.observation.encode()))
        assert one.length < tokens + len("😀".encode())
        start += one.length
    assert waiting.ends == tuple(in_bytes(waiting.text))


def test_a_long_text_is_cut_in_time_that_grows_as_it_does() -> None:
    def seconds(words: int) -> float:
        waiting = Waiting("text").add("word " * words, range(5, 5 * words + 1, 5))
        begun = process_time()
        assert len(waiting.cut(20)[0]) == words // 20 - 1
        return process_time() - begun

    # Sixteen times the text: it would take 256 times as long if every turn copied the rest.
    assert seconds(160_000) < 80 * min(seconds(10_000) for _ in range(3))


def test_a_turn_has_its_number_and_a_line_for_each_side() -> None:
    assert Chunk(" Hello. ", "", 0, 1).text(3) == "[Turn 3]\nHello."
    both = Chunk("User: Hello.\n", "", 0, 1, "Assistant: Hi there.\n")
    assert both.text(12) == "[Turn 12]\nUser: Hello.\nAssistant: Hi there."


def turn(observation: str, source: str, start: int) -> Turn:
    chunk = Chunk(observation, source, start, len(observation))
    return Turn(chunk, chunk.text(1), 9)


def test_rolling_back_restores_the_stream_of_before() -> None:
    empty = Stream()
    one = replace(empty, turns=(turn("abc", "a", 0),)).counted("a", 3)
    two = replace(one, turns=(*one.turns, turn("de", "b", 0))).counted("b", 2)
    three = replace(two, turns=(*two.turns, turn("fg", "a", 3))).counted("a", 2)
    assert three.rolled_back() == two
    assert three.rolled_back().rolled_back() == one
    assert one.rolled_back() == empty == empty.rolled_back()
    waiting = replace(two, waiting=Waiting("b", 2, "xyz", (1, 2, 3))).counted("b", 3)
    assert waiting.rolled_back() == two


def test_bytes_are_those_of_texts_vectors_and_counts() -> None:
    one = turn("größe", "a", 0)
    assert one.nbytes == 7 + 56
    kept = replace(one, summary="abc", vector=torch.zeros(10))
    assert kept.nbytes == 7 + 56 + 3 + 40
    assert Stream((one,), Waiting("a", 0, "ab", (1, 2))).nbytes == one.nbytes + 2 + 8


def test_a_text_is_shortened_behind_a_sentence_where_one_ends() -> None:
    text = "One is here. Two is there. Three."
    assert shortened(text, bytewise(text), 28) == "One is here. Two is there."
    assert shortened(text, bytewise(text), 20) == "One is here."
    assert shortened(text, bytewise(text), 5) == "One i"
    assert shortened(text, bytewise(text), 99) == text
