"""Prompts laid out with the tails before them."""

from __future__ import annotations

import pytest
import torch

from memplus.errors import UsageError
from memplus.passes.prompt import asked_by_last, assemble

IDS = torch.tensor([[0, 0, 5], [7, 8, 9]])
MASK = torch.tensor([[0, 0, 1], [1, 1, 1]])


def test_without_tails_a_prompt_is_what_it_was() -> None:
    found = assemble(IDS, MASK, [[], []])
    assert found.input_ids is IDS
    assert found.attention_mask is MASK
    assert found.asked.tolist() == MASK.bool().tolist()
    assert (found.tail, found.extra, found.width) == (None, 0, 3)


def test_a_mask_that_hides_nothing_is_none() -> None:
    assert assemble(IDS, torch.ones_like(IDS), [[]]).attention_mask is None
    assert assemble(IDS, None, [[]]).attention_mask is None
    assert assemble(IDS, None, [[1], [2]]).attention_mask is None


def test_tails_stand_right_before_their_prompts_in_the_padding_too() -> None:
    found = assemble(IDS, MASK, [[1, 2, 3], [4]])
    assert found.input_ids.tolist() == [[1, 2, 3, 5], [4, 7, 8, 9]]
    assert found.attention_mask is None
    assert found.tail is not None
    assert found.tail.tolist() == [[True, True, True, False], [True, False, False, False]]
    assert found.asked.tolist() == [[False, False, False, True], [False, True, True, True]]
    assert found.extra == 1


def test_tails_of_different_lengths_leave_padding_before_them() -> None:
    found = assemble(IDS, None, [[1], [2, 3, 4]])
    assert found.input_ids.tolist() == [[0, 0, 1, 0, 0, 5], [2, 3, 4, 7, 8, 9]]
    assert found.attention_mask is not None
    assert found.attention_mask.tolist() == [[0, 0, 1, 1, 1, 1], [1] * 6]
    assert found.extra == 3


def test_a_tail_that_fits_into_the_padding_adds_no_column() -> None:
    found = assemble(IDS, MASK, [[1], []])
    assert found.input_ids.tolist() == [[0, 1, 5], [7, 8, 9]]
    assert found.attention_mask is not None
    assert found.attention_mask.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert found.extra == 0


@pytest.mark.parametrize("shape", [(2, 2), (1, 3), (2, 4)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="attention_mask has shape"):
        assemble(IDS, torch.ones(shape), [[], []])


def test_a_row_without_any_token_is_refused() -> None:
    with pytest.raises(UsageError, match="hides every token of a row"):
        assemble(IDS, torch.tensor([[0, 0, 0], [1, 1, 1]]), [[], []])


@pytest.mark.parametrize("mask", [[1, 1, 0], [1, 0, 1]], ids=["right", "a hole"])
def test_padding_after_a_token_is_refused_only_beside_a_tail(mask: list[int]) -> None:
    given = torch.tensor([mask, [1, 1, 1]])
    assert assemble(IDS, given, [[], []]).attention_mask is given
    with pytest.raises(UsageError, match="padded on the left"):
        assemble(IDS, given, [[1], []])


def test_only_the_last_tokens_of_each_prompt_ask() -> None:
    ids = torch.tensor([[0, 0, 1, 2], [3, 4, 5, 6]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    whole = assemble(ids, mask, [[7, 8], []])
    asked = asked_by_last(whole, 3).asked
    assert asked.tolist() == [[False, False, True, True], [False, True, True, True]]
    assert asked_by_last(whole, 1).asked.sum(dim=1).tolist() == [1, 1]
