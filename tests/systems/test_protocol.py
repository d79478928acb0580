from typing import Any

import pytest

from memplus.errors import EmptyTextError, UsageError
from memplus.systems.protocol import Likelihood, Recall, pieces_of


def test_a_text_is_one_piece_and_pieces_stay_as_they_are() -> None:
    assert pieces_of("one text") == ["one text"]
    assert pieces_of(("one", "", " text")) == ["one", " text"]


def test_nothing_is_no_text() -> None:
    for text in ("", [], ["", ""]):
        with pytest.raises(EmptyTextError):
            pieces_of(text)
    assert pieces_of(" ") == [" "]


@pytest.mark.parametrize("text", ["a\udc80b", b"abc", ["fine", 3], ["fine", None, 0]])
def test_what_cannot_be_read_is_no_text(text: Any) -> None:
    with pytest.raises(UsageError, match="The text"):
        pieces_of(text)


def test_the_mean_is_over_layers_that_store_any() -> None:
    found = Recall(stored=[4, 0, 2], retrieved=[1, 0, 2])
    assert found.by_layer == [0.25, None, 1.0]
    assert found.mean == 0.625
    assert Recall([0], [0]).mean is None


def test_a_likelihood_is_a_pair_that_also_says_whether_it_would_be_generated() -> None:
    found = Likelihood(-1.5, 3, greedy=True)
    total, tokens = found
    assert (total, tokens, found.greedy) == (-1.5, 3, True)
    assert found == (-1.5, 3)
