import pytest
from hypothesis import given
from hypothesis import strategies as st

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

    ids = list(range(100))
    steps = steps_of(ids, "text", [(40, asked("b")), (10, asked("a")), (40, asked("c"))])
    assert [list(step.ids) for step in steps] == [ids[:10], ids[10:40]]
    assert [[one.key for one in step.questions] for step in steps] == [["a"], ["b", "c"]]
    plan = Plan("p", 0, steps, ())
    assert plan.tokens == 40
    assert [one.key for one in plan.questions] == ["a", "b", "c"]
