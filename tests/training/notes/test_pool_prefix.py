"""The training prefix against reads of real memories: same rows, same logits."""

from __future__ import annotations

from random import Random

import pytest
import torch
from tests.training.conftest import SMALL
from torch import Tensor

from memplus.backbone.session import running
from memplus.memory.state import Memory
from memplus.mplus.model import MPlus
from memplus.passes.read import HiddenPrefix, ReadSession
from memplus.training.notes.pool_prefix import PoolPrefix, Retrieval
from memplus.training.tasks.grouped_read import GroupedReadSession

NEW, LIMIT = SMALL.memory.tokens_per_write, SMALL.memory.short_term_tokens
NONE = torch.zeros(0, dtype=torch.int64)


def written(model: MPlus, chunks: int) -> tuple[Memory, list[Tensor], Tensor]:
    """A memory of ``chunks`` chunks, all their rows in order, and which of them it still holds."""
    memory, random = model.new_memory(), Random(0)
    made, held = [], torch.zeros((2, 0), dtype=torch.int64)
    for index in range(chunks):
        ids = torch.tensor([[random.randrange(2, 300) for _ in range(32)]])
        with torch.no_grad():
            made.append(model.compress(memory, ids))
        count = max(0, held.shape[1] + NEW - LIMIT)
        drop = torch.stack([torch.arange(count), held.shape[1] - 1 - torch.arange(count).flip(0)])
        model.write_chunk(memory, ids, drop=drop if drop.shape[1] else None)
        kept = torch.ones(held.shape, dtype=torch.bool).scatter(1, drop, False)
        held = torch.cat(
            [held[kept].view(2, -1), (index * NEW + torch.arange(NEW)).expand(2, -1)], dim=1
        )
    rows = torch.cat(made, dim=1)
    return memory, [rows[0], rows[1]], held


def logits_of(model: MPlus, prefix: PoolPrefix, ids: Tensor) -> Tensor:
    session = GroupedReadSession(model.backbone, prefix)
    with torch.no_grad(), running(model.backbone, session, None):
        return model.core.logits(model.backbone.decoder(input_ids=ids).last_hidden_state)


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_reads_equal_those_of_a_memory(model: MPlus, chunks: int) -> None:
    memory, rows, held = written(model, chunks)
    ids = torch.tensor([[5, 9, 77, 4, 60], [8, 3, 3, 91, 250]])
    retrieval = None
    if chunks > 1:
        prompt = torch.ones(ids.shape, dtype=torch.bool)
        told = torch.zeros((2, len(rows[0])), dtype=torch.bool)
        never = torch.zeros(2, dtype=torch.bool)
        retrieval = Retrieval(SMALL.memory.retrieved_tokens, prompt, told, never, NONE)
    prefix = PoolPrefix(model, rows, held[:, None], retrieval)
    with torch.no_grad():
        expected = model(ids, memory=memory).logits
    torch.testing.assert_close(logits_of(model, prefix, ids), expected, atol=2e-5, rtol=0)


def test_groups_read_their_own_rows_alone(model: MPlus) -> None:
    _, rows, _ = written(model, 2)
    ids = torch.tensor([[5, 9, 77], [8, 3, 3], [5, 9, 77], [8, 3, 3]])
    first, second = torch.arange(NEW), NEW + torch.arange(NEW)
    both = PoolPrefix(model, rows, torch.stack([first, second]).expand(2, -1, -1))
    together = logits_of(model, both, ids)
    for group, own in enumerate((first, second)):
        alone = PoolPrefix(model, rows, own.expand(2, 1, -1))
        single = logits_of(model, alone, ids[2 * group : 2 * group + 2])
        torch.testing.assert_close(together[2 * group : 2 * group + 2], single, atol=2e-5, rtol=0)
    assert not together[:2].allclose(together[2:], atol=1e-3)


def test_forced_questions_retrieve_the_right_rows_and_others_their_best(model: MPlus) -> None:
    _, rows, held = written(model, 3)
    ids = torch.tensor([[5, 9, 77], [5, 9, 77]])
    outside = sorted(set(range(3 * NEW)) - set(held[0].tolist()) - set(held[1].tolist()))
    told = torch.zeros((2, 3 * NEW), dtype=torch.bool)
    told[:, outside[:2]] = True
    changed = [layer.clone() for layer in rows]
    for layer in changed:
        layer[outside[:2]] += 3.0
    prompt = torch.ones(ids.shape, dtype=torch.bool)

    def read(forced: bool, pool: list[Tensor], count: int) -> Tensor:
        flags = torch.full((2,), forced)
        retrieval = Retrieval(count, prompt, told, flags, NONE)
        return logits_of(model, PoolPrefix(model, pool, held[:, None], retrieval), ids)

    assert not read(True, rows, 2).allclose(read(True, changed, 2), atol=1e-3)
    every = 3 * NEW - held.shape[1]
    torch.testing.assert_close(read(False, rows, every), read(True, rows, every))


def test_learned_scores_carry_gradients_into_the_retriever(model: MPlus) -> None:
    _, rows, held = written(model, 2)
    ids = torch.tensor([[5, 9, 77]])
    prompt = torch.ones(ids.shape, dtype=torch.bool)
    told = torch.zeros((1, 2 * NEW), dtype=torch.bool)
    retrieval = Retrieval(4, prompt, told, torch.zeros(1, dtype=torch.bool), torch.tensor([0]))
    session = GroupedReadSession(model.backbone, PoolPrefix(model, rows, held[:, None], retrieval))
    with running(model.backbone, session, None):
        model.backbone.decoder(input_ids=ids)
    assert [tuple(scores.shape) for scores in retrieval.scores] == [(1, 2 * NEW)] * 2
    torch.stack(retrieval.scores).sum().backward()
    for weight in model.weights.layer_retriever(1).parameters():
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0


def test_gradients_are_those_of_a_concatenated_read(model: MPlus) -> None:
    _, rows, _ = written(model, 1)
    ids = torch.tensor([[5, 9, 77], [8, 3, 3]])
    weights = torch.randn((2, 3, 32), generator=torch.Generator().manual_seed(0))
    grads = []
    for way in (True, False):
        pool = [layer.clone().requires_grad_() for layer in rows]
        if way:
            kept = torch.arange(NEW).expand(2, 1, -1)
            session: ReadSession = GroupedReadSession(model.backbone, PoolPrefix(model, pool, kept))
        else:
            stacked = torch.stack(pool)[None].expand(2, -1, -1, -1)
            session = ReadSession(
                model.backbone, HiddenPrefix(model.backbone, model.weights, stacked)
            )
        with running(model.backbone, session, None):
            hidden = model.backbone.decoder(input_ids=ids).last_hidden_state
            (hidden * weights).sum().backward()
        grads.append(torch.stack([layer.grad for layer in pool if layer.grad is not None]))
    assert grads[0].abs().max() > 0.1
    torch.testing.assert_close(grads[0], grads[1], atol=1e-4, rtol=1e-4)
