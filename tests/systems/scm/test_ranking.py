import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memplus.systems.scm.ranking import (
    centred_cosines,
    cosines,
    nearest,
    recency,
    word_scores,
)


def test_a_cosine_is_that_of_the_angle_and_of_nothing_where_there_is_none() -> None:
    vectors = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    found = cosines(torch.tensor([5.0, 0.0]), vectors)
    assert found == pytest.approx([1, 0, -1, 0, 0.5**0.5])


def test_what_all_turns_have_in_common_does_not_count_when_centred() -> None:
    common = torch.tensor([100.0, 100.0, 0.0])
    vectors = common + torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    query = common + torch.tensor([2.0, 0.0, 0.0])
    assert min(cosines(query, vectors)) > 0.99
    assert centred_cosines(query, vectors) == pytest.approx([1, -1])


def test_words_that_few_turns_have_count_more_and_the_best_turn_has_one() -> None:
    texts = ["the red gate", "the keeper of the gate", "the keeper slept, the boat left"]
    assert word_scores("Where is the RED gate?", texts)[0] == 1
    first, second, third = word_scores("keeper gate", texts)
    assert second == 1
    assert 0 < first < 1
    assert 0 < third < 1
    assert word_scores("nothing of it", ["a b", "c"]) == [0, 0]
    assert word_scores("a", []) == []
    assert word_scores("a", ["", "..."]) == [0, 0]


def test_the_older_a_turn_the_less_recent_and_the_last_one_is_left_out() -> None:
    assert recency(4) == pytest.approx([0.995**4, 0.995**3, 0.995**2])
    assert recency(1) == []


@given(st.lists(st.integers(-3, 3)), st.integers(1, 6))
def test_the_nearest_come_last_and_of_equals_the_later_one(scores: list[int], k: int) -> None:
    found = nearest(scores, k)
    assert len(found) == min(k, len(scores))
    ranks = [(scores[place], place) for place in found]
    assert ranks == sorted(ranks)
    left_out = [(scores[p], p) for p in range(len(scores)) if p not in found]
    assert all(one < ranks[0] for one in left_out)
