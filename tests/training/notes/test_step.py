from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch
from tests.training.conftest import SMALL
from tests.training.pretended_device import Elsewhere, PretendedDevice, moved

from memplus.mplus.model import MPlus
from memplus.training.engine.modes import training_mode
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


def test_a_step_on_another_device_keeps_everything_there_and_waits_for_nothing(
    model: MPlus, maker: EpisodeMaker
) -> None:
    def steps() -> tuple[Stepper, list[dict[str, float]]]:
        stepper, found = Stepper(model, SMALL, torch.Generator()), []
        for seed, (index, tail) in enumerate([(0, False), (0, True), (1, False), (1, True)]):
            stepper.generator.manual_seed(seed)
            stage = SMALL.stages[index]
            episode = maker.make(stage, Random(seed), tail=tail)
            loss, figures = stepper.step(stage, episode)
            found.append({name: figures[name].as_subclass(torch.Tensor) for name in figures})
            with torch._C.DisableTorchFunctionSubclass():
                loss.backward()
        return stepper, [{n: one.item() for n, one in figures.items()} for figures in found]

    with training_mode(model, plain=True):
        _, expected = steps()
        moved(model)
        with PretendedDevice() as pretended:
            stepper, figures = steps()
    assert figures == expected
    kept = [stepper.context, *(one for rows in stepper.earlier for one in rows)]
    assert all(isinstance(one, Elsewhere) for one in kept)
    # The library looks once in every pass whether several texts are packed into one.
    assert set(pretended.waited) == {"__bool__"}
    assert len(pretended.waited) == 3 + 3 + 4 + 4
