from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.conftest import words

from memplus.data.stream import Piece, Stream, Texts
from memplus.evaluation.engine.plan import Plan, Question, due_at, steps_of


@given(st.integers(1, 10_000), st.integers(0, 2_000_000), st.sampled_from([6, 64, 512]))
def test_a_question_is_due_at_a_chunk_border_just_far_enough(
    end: int, distance: int, chunk: int
) -> None:
    at = due_at(end, distance, chunk)
    assert at % chunk == 0
    assert at >= end + distance
    assert at - end - distance < max(chunk, distance / 100)


@pytest.mark.parametrize(("distance", "grain"), [(1_000, 64), (12_799, 64), (160_000, 1_600)])
def test_far_questions_gather_at_rarer_borders(distance: int, grain: int) -> None:
    places = {due_at(end, distance, 64) for end in range(1, 5_000)}
    assert 0 <= len(places) - 5_000 // grain <= 2


def test_the_stream_is_cut_where_questions_are_due_and_ends_with_the_last() -> None:
    def asked(key: str) -> Question:
        return Question(key, "note", "Who?", ("me",))

    stream = Stream(Texts.of([" One gate and a door."], words), 0, "text")
    stream.read_to(60)
    steps = steps_of(stream, [(40, asked("b")), (11, asked("a")), (40, asked("c"))])
    read = "".join(piece.text for piece in stream.pieces).split()
    assert ["".join(step.pieces).split() for step in steps] == [read[:11], read[11:40]]
    assert [step.tokens for step in steps] == [11, 29]
    assert [[one.key for one in step.questions] for step in steps] == [["a"], ["b", "c"]]
    plan = Plan("p", 0, steps, ())
    assert plan.tokens == 40
    assert [one.key for one in plan.questions] == ["a", "b", "c"]


def test_a_question_that_cannot_be_asked_inside_a_word_says_how_much_later_it_is() -> None:
    def pairs(texts: list[str]) -> list[list[int]]:
        # Two tokens a word, which end together: no text holds one of them.
        return [[end for end in ends for _ in range(2)] for ends in words(texts)]

    stream = Stream(Texts.of(["One gate. "], pairs), 0, "text")
    stream.pieces, stream.tokens = [Piece(" one gate", [4, 4, 9, 9])], 4
    asked = Question("k", "note", "Who?", ("me",), 1, 1)
    (step,) = steps_of(stream, [(1, asked)])
    assert (step.pieces, step.tokens) == ((" one",), 2)
    assert step.questions == (replace(asked, distance=2),)
