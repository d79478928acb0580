"""A bank: what is kept of a text, shared by forks, without what has left."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memplus.systems.longmem.bank import Bank, BankShape

SHAPE = BankShape(chunk_tokens=2, heads=3, width=4, capacity=6)
LIKE = torch.empty(0)


def states(tokens: int, rows: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys, values = (torch.randn(rows, tokens, 3, 4, generator=generator) for _ in range(2))
    return keys, values


def filled(*counts: int, rows: int = 1, shape: BankShape = SHAPE) -> Bank:
    bank = Bank.empty(shape, rows, LIKE)
    for seed, count in enumerate(counts):
        bank = bank.append(*states(count, rows, seed))
    return bank


def test_chunks_hold_their_tokens_and_the_mean_of_their_keys() -> None:
    keys, values = states(7, rows=2)
    bank = Bank.empty(SHAPE, 2, LIKE).append(keys, values)
    assert len(bank) == 3
    assert bank.tokens == 7
    assert bank.starts.tolist() == [0, 2, 4]
    for chunk in range(3):
        place = slice(2 * chunk, 2 * chunk + 2)
        assert bank.keys[chunk].equal(keys[:, place].transpose(1, 2))
        assert bank.values[chunk].equal(values[:, place].transpose(1, 2))
        assert torch.allclose(bank.means[chunk], keys[:, place].mean(dim=1))


def test_tokens_that_make_up_no_chunk_are_counted_and_dropped() -> None:
    bank = filled(3, 1, 4)
    assert bank.starts.tolist() == [0, 4, 6]
    assert bank.tokens == 8


def test_the_oldest_chunks_leave_one_by_one() -> None:
    bank = filled(8, 4, 2)
    assert len(bank) == 6
    assert bank.starts.tolist() == [2, 4, 6, 8, 10, 12]
    assert bank.keys[0].equal(states(8, seed=0)[0][:, 2:4].transpose(1, 2))
    assert filled(30).starts.tolist() == [18, 20, 22, 24, 26, 28]


def test_the_published_bank_loses_twice_what_comes() -> None:
    shape = BankShape(2, 3, 4, capacity=6, leaving=2)
    assert filled(8, 4, shape=shape).starts.tolist() == [0, 2, 4, 6, 8, 10]
    assert filled(8, 4, 4, shape=shape).starts.tolist() == [8, 10, 12, 14]


def test_a_bank_that_goes_on_leaves_the_one_before_as_it_was() -> None:
    bank = filled(6)
    kept = {name: one.clone() for name, one in bank.tensors.items()}
    one, other = bank.append(*states(4, seed=8)), bank.append(*states(4, seed=9))
    assert one.keys[:3].equal(other.keys[:3])
    assert not one.keys[3].equal(other.keys[3])
    assert all(bank.tensors[name].equal(tensor) for name, tensor in kept.items())


def test_forks_share_what_they_have_in_common() -> None:
    bank = filled(6)
    longer = bank.append(*states(2, seed=8))
    assert longer.keys.data_ptr() == bank.keys.data_ptr()


def test_what_has_left_takes_no_room_for_long() -> None:
    bank = filled(*[4] * 100)
    assert len(bank) == 6
    assert len(bank.table) <= 3 * SHAPE.capacity
    assert bank.starts.tolist() == [388, 390, 392, 394, 396, 398]
    assert bank.keys[-2:].equal(filled(4).append(*states(4, seed=99)).keys[-2:])


def test_bytes_are_those_of_the_tensors() -> None:
    bank = filled(8, 4, 2)
    assert bank.nbytes == sum(one.nbytes for one in bank.tensors.values())
    # Keys, values and a mean of 3 heads of 4 numbers, and where the chunk begins.
    assert bank.nbytes == 6 * (4 * 12 * (2 + 2 + 1) + 8) + 8


def test_a_bank_comes_back_from_its_tensors() -> None:
    bank = filled(8, 5, 2, rows=2)
    again = Bank.restored(SHAPE, bank.tensors, LIKE)
    assert again.tokens == bank.tokens
    assert all(again.tensors[name].equal(one) for name, one in bank.tensors.items())
    more = states(4, rows=2, seed=7)
    assert again.append(*more).keys.equal(bank.append(*more).keys)
    empty = Bank.restored(SHAPE, Bank.empty(SHAPE, 1, LIKE).tensors, LIKE)
    assert len(empty) == 0


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("keys", torch.zeros(3, 1, 3, 2, 5)),
        ("keys", torch.zeros(3)),
        ("values", torch.zeros(3, 1, 3, 2, 4, dtype=torch.float16)),
        ("means", torch.zeros(2, 1, 3, 4)),
        ("starts", torch.zeros(3)),
        ("tokens", torch.zeros(2, dtype=torch.long)),
        ("other", torch.zeros(2)),
        ("starts", torch.tensor([-2, 0, 2])),
        ("starts", torch.tensor([0, 4, 2])),
        ("starts", torch.tensor([0, 1, 4])),
        ("tokens", torch.tensor([-5])),
        ("tokens", torch.tensor([5])),
        ("means", filled(6).means * 1.01),
    ],
)
def test_other_tensors_are_refused_by_name(name: str, tensor: Tensor) -> None:
    with pytest.raises(ValueError, match=name):
        Bank.restored(SHAPE, {**filled(6).tensors, name: tensor}, LIKE)


def test_an_empty_bank_has_no_tokens_below_zero() -> None:
    with pytest.raises(ValueError, match="tokens is -5"):
        Bank.restored(SHAPE, {**filled().tensors, "tokens": torch.tensor([-5])}, LIKE)


def test_no_chunk_begins_behind_all_numbers() -> None:
    starts = torch.tensor([0, 2, (1 << 63) - 1])
    with pytest.raises(ValueError, match="tokens is 6, though"):
        Bank.restored(SHAPE, {**filled(6).tensors, "starts": starts}, LIKE)


def test_more_chunks_than_fit_are_refused() -> None:
    wide = BankShape(2, 3, 4, capacity=20)
    with pytest.raises(ValueError, match="7 chunks, more than 6"):
        Bank.restored(SHAPE, filled(14, shape=wide).tensors, LIKE)


def test_one_text_goes_on_in_many_ways_and_several_do_not() -> None:
    bank = filled(6)
    assert bank.repeated(5) is bank
    assert bank.detached() is bank
    with pytest.raises(ValueError, match="2 texts"):
        filled(6, rows=2).append(*states(2, rows=4))


def test_it_may_be_written_to_outside_of_inference_mode() -> None:
    with torch.inference_mode():
        bank = filled(6)
    assert not bank.append(*states(2)).keys.is_inference()
