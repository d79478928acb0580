"""What heads find and read, against sorting and against attention over everything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memplus.systems.longmem import retrieval
from memplus.systems.longmem.bank import Bank, BankShape
from memplus.systems.longmem.retrieval import NO_CHUNK, attend_chunks, best_chunks, mixed

EXACT = 1e-5
HEADS, GROUPS, WIDTH, SIZE = 6, 3, 4, 2


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bank_of(chunks: int, rows: int = 1, size: int = SIZE, seed: int = 1) -> Bank:
    empty = Bank.empty(BankShape(size, GROUPS, WIDTH, 1000), rows, torch.empty(0))
    keys, values = (random(rows, chunks * size, GROUPS, WIDTH, seed=seed + one) for one in (0, 1))
    return empty.append(keys, values)


QUERY = random(2, 5, HEADS, WIDTH, seed=9)


@pytest.fixture(params=[1 << 22, 40], ids=["one block", "blocks of one token"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_SCORES", request.param)
    monkeypatch.setattr(retrieval, "_GATHERED", request.param)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("rows", [1, 2])
def test_chunks_are_those_of_a_sort_by_head(rows: int) -> None:
    bank = bank_of(30, rows)
    found = best_chunks(QUERY, bank, 4)
    assert found.shape == (2, 5, HEADS, 4)
    for text in range(2):
        for token in range(5):
            for head in range(HEADS):
                means = bank.means[:, text if rows == 2 else 0, head // 2]
                scores = means @ QUERY[text, token, head]
                wanted = sorted(range(30), key=lambda chunk: -scores[chunk].item())[:4]
                assert found[text, token, head].tolist() == wanted
    assert not found[:, :, 0].equal(found[:, :, 1])


def test_where_there_are_few_chunks_all_of_them_are_found() -> None:
    bank = bank_of(3)
    assert best_chunks(QUERY, bank, 5).sort(dim=-1).values.unique(dim=2).shape == (2, 5, 1, 3)
    filled = best_chunks(QUERY, bank, 5, filled=True)
    assert filled[..., :3].equal(best_chunks(QUERY, bank, 3))
    assert filled[..., 3:].eq(NO_CHUNK).all()


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("rows", [1, 2])
def test_all_chunks_together_are_full_attention_in_any_order(rows: int) -> None:
    bank = bank_of(7, rows)
    index = torch.stack([torch.randperm(7) for _ in range(2 * 5 * HEADS)]).view(2, 5, HEADS, 7)
    out, weights = attend_chunks(QUERY, bank, index)
    for column in (bank.keys, bank.values):
        assert column.shape == (7, rows, GROUPS, SIZE, WIDTH)
    keys, values = (
        one.permute(1, 2, 0, 3, 4).flatten(2, 3).repeat_interleave(2, dim=1)
        for one in (bank.keys, bank.values)
    )
    wanted = torch.nn.functional.scaled_dot_product_attention(
        QUERY.transpose(1, 2), keys.expand(2, -1, -1, -1), values.expand(2, -1, -1, -1)
    )
    assert torch.allclose(out, wanted.transpose(1, 2), atol=EXACT)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 5, HEADS))


def test_chunks_of_one_token_are_nearest_tokens() -> None:
    bank = bank_of(20, size=1)
    index = best_chunks(QUERY, bank, 3)
    scores = torch.einsum("bthd,ahd->btha", QUERY, bank.keys[:, 0, :, 0].repeat_interleave(2, 1))
    assert index.equal(scores.topk(3).indices)
    out, weights = attend_chunks(QUERY, bank, index)
    near = (scores.gather(-1, index) * WIDTH**-0.5).softmax(dim=-1)
    assert torch.allclose(weights, near, atol=EXACT)
    values = bank.values[:, 0, :, 0].repeat_interleave(2, dim=1)
    head = torch.arange(HEADS)[:, None]
    assert torch.allclose(out, (near[..., None] * values[index, head]).sum(dim=3), atol=EXACT)


def test_absent_chunks_are_zeros_that_take_weight() -> None:
    bank = bank_of(1)
    out, weights = attend_chunks(QUERY, bank, best_chunks(QUERY, bank, 2, filled=True))
    zeros = bank.append(torch.zeros(1, SIZE, GROUPS, WIDTH), torch.zeros(1, SIZE, GROUPS, WIDTH))
    wanted, _ = attend_chunks(QUERY, zeros, torch.tensor([0, 1]).expand(2, 5, HEADS, 2))
    assert torch.allclose(out, wanted, atol=EXACT)
    assert (weights[..., 1] > 0).all()


@pytest.mark.usefixtures("blocks")
def test_gradients_reach_the_query_alone() -> None:
    bank, query = bank_of(9), QUERY.clone().requires_grad_()
    index = best_chunks(query, bank, 3)
    assert not index.requires_grad
    to = random(*QUERY.shape, seed=4)
    (attend_chunks(query, bank, index)[0] * to).sum().backward()
    step = 1e-3
    for place in ((0, 0, 0, 0), (1, 4, 5, 3), (0, 2, 3, 1)):
        moved = [QUERY.clone(), QUERY.clone()]
        moved[0][place] += step
        moved[1][place] -= step
        up, down = ((attend_chunks(one, bank, index)[0] * to).sum().item() for one in moved)
        assert query.grad is not None
        assert query.grad[place].item() == pytest.approx((up - down) / (2 * step), abs=2e-3)


def test_a_bank_that_has_lost_chunks_counts_those_it_has() -> None:
    shape = BankShape(SIZE, GROUPS, WIDTH, capacity=4)
    bank = Bank.empty(shape, 1, torch.empty(0))
    keys, values = random(1, 12, GROUPS, WIDTH), random(1, 12, GROUPS, WIDTH, seed=1)
    for start in range(0, 12, 4):
        bank = bank.append(keys[:, start : start + 4], values[:, start : start + 4])
    newest = Bank.empty(shape, 1, torch.empty(0)).append(keys[:, 4:], values[:, 4:])
    index = best_chunks(QUERY, bank, 2)
    assert index.equal(best_chunks(QUERY, newest, 2))
    assert attend_chunks(QUERY, bank, index)[0].equal(attend_chunks(QUERY, newest, index)[0])


def test_a_gate_weighs_head_by_head_and_its_ends_are_exact() -> None:
    local, memory = random(1, 2, 3, 4), random(1, 2, 3, 4, seed=1)
    gate = torch.tensor([-torch.inf, torch.inf, 0.0])
    found = mixed(local, memory, gate)
    assert found[:, :, 0].equal(local[:, :, 0])
    assert found[:, :, 1].equal(memory[:, :, 1])
    assert torch.allclose(found[:, :, 2], (local + memory)[:, :, 2] / 2)
