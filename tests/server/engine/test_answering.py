"""One answer, token by token, without a thread."""

from __future__ import annotations

import pytest
import torch
from tests.fakes import EOS, make_mplus, some_ids

from memplus.errors import SelfTestError
from memplus.mplus.joint_reader import JointReader
from memplus.server.engine.answering import Answering
from memplus.server.engine.requests import Finished, Piece, ReadRequest, Sampling

MODEL = make_mplus()


def answering(sampling: Sampling) -> Answering:
    def spelt(ids: list[int]) -> str:
        return str(MODEL.tokenizer.decode(ids, skip_special_tokens=True))

    request = ReadRequest(None, tuple(some_ids(3).tolist()), sampling)
    return Answering(JointReader(MODEL.core), request, spelt)


def scores(token: int) -> torch.Tensor:
    """[V] logits of which one is the highest."""
    logits = torch.zeros(MODEL.vocabulary)
    logits[token] = 9
    return logits


def took(one: Answering, *tokens: int) -> list[Piece | Finished]:
    return [item for token in tokens for item in one.take(scores(token))]


def ids(text: str) -> list[int]:
    found: list[int] = MODEL.encode(text)
    return found


def test_an_end_token_ends_the_answer_and_is_not_given() -> None:
    found = took(answering(Sampling(9)), *ids("ab"), EOS)
    assert found == [Piece("a"), Piece("b"), Finished("stop", 3, 3)]


def test_a_stop_ends_the_answer_before_it() -> None:
    found = took(answering(Sampling(9, stop=("cd",))), *ids("bcd"))
    assert found == [Piece("b"), Finished("stop", 3, 3)]


def test_the_most_tokens_end_the_answer_and_give_what_was_held_back() -> None:
    found = took(answering(Sampling(2, stop=("bc",))), *ids("ab"))
    assert found == [Piece("a"), Piece("b"), Finished("length", 3, 2)]


def test_the_next_pass_reads_the_prompt_and_then_the_last_token() -> None:
    one = answering(Sampling(9))
    assert one.piece(2).ids == one.request.ids[:2]
    one.reader.step([one.piece(9)])
    took(one, *ids("a"))
    assert list(one.piece(9).ids) == ids("a")


def test_scores_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(SelfTestError):
        answering(Sampling(9)).take(torch.full((MODEL.vocabulary,), float("nan")))
