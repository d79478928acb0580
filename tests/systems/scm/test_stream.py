from dataclasses import replace
from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from memplus.systems.scm.stream import Chunk, Stream, Turn, Waiting, shortened

TEXT = (
    "The gate is red. Nobody came!\nIt rained (for days). The keeper slept and slept. So it went."
)


def bytewise(text: str) -> list[int]:
    return list(range(1, len(text) + 1))


def cut(pieces: list[str], tokens: int) -> tuple[list[Chunk], Waiting]:
    waiting, chunks = Waiting("text", 5), []
    for piece in pieces:
        waiting = waiting.add(piece, bytewise(piece))
        while (found := waiting.first(tokens)) is not None:
            chunk, waiting = found
            chunks.append(chunk)
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


def test_tokens_that_end_inside_a_character_stay_together_with_it() -> None:
    waiting = Waiting("text").add("aé b", [1, 2, 2, 3, 4])
    found = waiting.first(3)
    assert found is not None
    chunk, rest = found
    assert (chunk.observation, rest.text, rest.ends) == ("aé", " b", (1, 2))


def test_a_turn_of_both_sides_names_them_and_all_have_their_number() -> None:
    assert Chunk(" Hello. ", "", 0, 1).text(3) == "[Turn 3]\nHello."
    both = Chunk("Hello.", "", 0, 1, "Hi there.")
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
