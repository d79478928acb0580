import torch

from memplus.systems.latent.mechanism import Share
from memplus.systems.longmem.bank import Bank, BankShape
from memplus.systems.longmem.retrieval import NO_CHUNK
from memplus.systems.longmem.shares import Account


def bank() -> Bank:
    empty = Bank.empty(BankShape(2, 1, 3, 3), 1, torch.empty(0))
    return empty.append(torch.ones(1, 8, 1, 3), torch.ones(1, 8, 1, 3))  # the first chunk leaves


def test_what_chunks_are_paid_adds_up_over_heads_and_tokens() -> None:
    account = Account(bank(), 2)
    index = torch.tensor([[[0, 1], [1, 2]], [[2, NO_CHUNK], [2, NO_CHUNK]]])
    weights = torch.tensor([[[0.25, 0.25], [0.5, 0.0]], [[0.5, 0.1], [0.25, 0.1]]])
    account.add(index, weights)
    account.add(index, weights)
    first, second = account.shares()
    assert first == [Share(4, 6, 0.75), Share(2, 4, 0.25), Share(6, 8, 0.0)]
    assert second == [Share(6, 8, 1.0)]


def test_without_a_token_there_are_no_shares() -> None:
    assert Account(bank(), 2).shares() == [[], []]
