from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from tests.training.conftest import SMALL

from memplus.model import MPlus
from memplus.training.episodes import EpisodeMaker
from memplus.training.recipe import Optimizing
from memplus.training.step import Stepper
from memplus.training.trainer import Progress, Trainer


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


def test_training_learns_the_text_and_reports(
    model: MPlus, maker: EpisodeMaker, tmp_path: Path
) -> None:
    recipe = replace(SMALL, stages=SMALL.stages[:1], optimizing=Optimizing(warmup=5, cooldown=5))
    seen: list[Progress] = []
    trainer = Trainer(model, recipe, maker, tmp_path, report=10)
    trainer.run(40, seen.append)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert lines[-1]["language"] < 0.9 * lines[0]["language"]
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert [now.step for now in seen] == list(range(1, 41))
    assert seen[-1].seconds_left == 0
    assert not model.training


def test_a_stage_ends_when_its_accuracy_is_reached(
    model: MPlus, maker: EpisodeMaker, tmp_path: Path
) -> None:
    stages = (replace(SMALL.stages[0], advance=-1.0), SMALL.stages[1])
    trainer = Trainer(model, replace(SMALL, stages=stages), maker, tmp_path)
    trainer.run(6)
    assert trainer.state.stage == 1


def test_a_resumed_run_goes_on_with_its_optimizers(
    model: MPlus, maker: EpisodeMaker, tmp_path: Path
) -> None:
    recipe = replace(SMALL, optimizing=Optimizing(warmup=2, cooldown=2, tail=0.0, easier=0.0))
    trainer = Trainer(model, recipe, maker, tmp_path, seed=3)
    trainer.run(3)
    taken_up = Trainer(MPlus.from_pretrained(tmp_path / "model"), recipe, maker, tmp_path, seed=3)
    taken_up.resume()
    assert taken_up.state == trainer.state
    context = trainer._stepper.context
    taken_up._stepper.context = context
    trainer.run(5)
    taken_up.run(5)
    for one, two in zip(model.parameters(), taken_up.model.parameters(), strict=True):
        assert one.equal(two)
