from __future__ import annotations

import math

import pytest
import torch

from memplus.training.tasks.losses import (
    answer_loss,
    binary_retrieval_loss,
    exactly_right,
    recall,
    retrieval_loss,
    text_losses,
)

TOLD = torch.tensor([[True, False, False, True], [False, True, False, False]])


def test_answer_loss_weighs_tokens() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    labels = torch.tensor([0, 1])
    both = answer_loss(logits, labels, torch.tensor([1.0, 3.0]))
    assert float(both) == pytest.approx((math.log(4 / 3) + 3 * math.log(2)) / 4)


def test_an_answer_is_right_only_as_a_whole() -> None:
    labels = torch.tensor([[-100, 1, 2], [-100, 1, 2]])
    predicted = torch.tensor([1, 2, 1, 0])
    logits = torch.nn.functional.one_hot(predicted, 3).float()
    assert exactly_right(logits, labels, -100).tolist() == [True, False]


def test_retrieval_loss_is_that_of_each_right_row_among_all_wrong_ones() -> None:
    scores = torch.tensor([[0.3, 0.1, 0.2, 0.4], [0.5, 0.6, 0.1, 0.2]])

    def loss(right: float, wrong: list[float]) -> float:
        parts = [math.exp(value / 0.1) for value in (right, *wrong)]
        return -math.log(parts[0] / sum(parts))

    first = (loss(0.3, [0.1, 0.2]) + loss(0.4, [0.1, 0.2])) / 2
    second = loss(0.6, [0.5, 0.1, 0.2])
    value = float(retrieval_loss(scores, TOLD, 0.1))
    assert value == pytest.approx((first + second) / 2, rel=1e-5)


def test_retrieval_loss_raises_right_rows_and_lowers_wrong_ones() -> None:
    scores = torch.full((2, 4), 0.5, requires_grad=True)
    retrieval_loss(scores, TOLD, 0.1).backward()
    assert scores.grad is not None
    assert (scores.grad[TOLD] < 0).all()
    assert (scores.grad[~TOLD] > 0).all()


def test_recall_counts_right_rows_among_the_best() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.1, 0.5, 0.2, 0.3]])
    assert recall(scores, TOLD, 2) == pytest.approx(0.75)
    assert recall(scores, TOLD, 9) == 1.0


def test_binary_retrieval_loss_against_its_formula() -> None:
    scores = torch.tensor([[0.9, 0.2, 0.4], [0.5, 0.5, 0.5], [0.1, 0.6, 0.3]])
    right = torch.tensor([[True, False, False], [False, False, False], [True, True, False]])
    negative, penalty = 0.5, 0.1

    def one(row: int, there: list[int], others: list[int]) -> float:
        positive = sum(-math.log(float(scores[row, i]) + 1e-5) for i in there) / len(there)
        wrong = sum(-math.log(1 - float(scores[row, i]) + 1e-5) for i in others) / len(others)
        spread = sum(float(s) * (1 - float(s)) for s in scores[row]) / 3
        return (positive + negative * wrong) / (1 + negative) + penalty * spread

    # A question that nothing answers has no loss, but counts among the three.
    expected = (one(0, [0], [1, 2]) + 0 + one(2, [0, 1], [2])) / 3
    assert float(binary_retrieval_loss(scores, right, negative, penalty)) == pytest.approx(expected)
    halves = binary_retrieval_loss(scores[:2], right[:2], negative, penalty)
    rest = binary_retrieval_loss(scores[2:], right[2:], negative, penalty)
    assert float((2 * halves + rest) / 3) == pytest.approx(expected)


def test_binary_retrieval_loss_stays_finite_at_its_ends() -> None:
    scores = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = binary_retrieval_loss(scores, torch.tensor([[True, False]]), 1.0, 0.001)
    loss.backward()
    assert bool(loss.isfinite())
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())


def test_text_losses_are_those_of_each_document() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 5, generator=generator)
    ids = torch.randint(0, 5, (2, 6), generator=generator)
    for unscored in (0, 2):
        found = text_losses(logits, ids, unscored)
        for row in range(2):
            shares = logits[row].log_softmax(dim=-1)
            wanted = [-shares[i, ids[row, i + 1]] for i in range(unscored, 5)]
            assert float(found[row]) == pytest.approx(float(torch.stack(wanted).mean()), rel=1e-5)
