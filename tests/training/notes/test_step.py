from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch
from tests.training.conftest import SMALL

from memplus.mplus.model import MPlus
from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.step import Stepper


@pytest.mark.parametrize("index", [0, 1])
def test_every_weight_learns_in_a_step(model: MPlus, maker: EpisodeMaker, index: int) -> None:
    stepper = Stepper(model, SMALL, torch.Generator().manual_seed(0))
    stage = SMALL.stages[index]
    for seed in range(2):
        loss, figures = stepper.step(stage, maker.make(stage, Random(seed), tail=False))
    loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
    assert {"loss", "right", "language", "repeat", "retrieval", "recall"} <= set(figures)


def test_pools_keep_the_newest_rows_and_as_many_as_fit(model: MPlus) -> None:
    stepper = Stepper(model, SMALL, torch.Generator().manual_seed(0))
    stage = replace(SMALL.stages[1], documents=4, group=4)
    pools = stepper._pools(stage)
    rows, new = 4 * 2 * SMALL.memory.tokens_per_write, SMALL.memory.tokens_per_write
    assert tuple(pools.shape) == (2, 1, SMALL.memory.short_term_tokens)
    assert (pools.diff(dim=2) > 0).all()
    assert pools[:, 0, -new:].tolist() == [list(range(rows - new, rows))] * 2
    assert not pools[0].equal(pools[1])
