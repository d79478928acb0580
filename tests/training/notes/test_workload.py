from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.conftest import SMALL

from memplus.errors import TrainingStartError
from memplus.mplus.model import MPlus
from memplus.training.engine.common_config import OptimizerConfig
from memplus.training.engine.loop import Loop, Progress
from memplus.training.engine.modes import training_mode
from memplus.training.engine.optimizers import make_optimizers
from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.recipe import Optimizing, Recipe
from memplus.training.notes.workload import NotesWorkload, Standing, notes_pace


def loop_of(
    model: MPlus, maker: EpisodeMaker, folder: Path, steps: int, recipe: Recipe = SMALL
) -> Loop:
    workload = NotesWorkload(model, recipe, maker, seed=3)
    config = OptimizerConfig("muon", recipe.optimizing.learning_rate, betas=(0.9, 0.98))
    optimizers = make_optimizers(model, config, None)
    return Loop(workload, optimizers, folder, notes_pace(recipe, steps, seed=3))


def workload_of(loop: Loop) -> NotesWorkload:
    assert isinstance(loop.workload, NotesWorkload)
    return loop.workload


def test_its_steps_are_those_that_made_the_bundled_weights(
    model: MPlus, maker: EpisodeMaker, tmp_path: Path
) -> None:
    """Losses and weights of four steps, as the trainer that made the last weights gives them."""
    loop = loop_of(model, maker, tmp_path, 4)
    workload_of(loop).standing.stage = 1
    seen: list[dict[str, float]] = []
    with training_mode(model):
        loop.run(lambda now: seen.append(now.figures))
    expected = {
        "loss": [7.1517, 7.13399, 7.02049, 7.82861],
        "language": [7.13913, 7.01955, 7.06688, 6.94884],
        "repeat": [7.07182, 7.04823, 7.04254, 7.03202],
        "retrieval": [6.34696, 6.08911, 6.95805, 6.60814],
    }
    # Processors round differently, and every step of the optimizer makes more of it.
    for name, values in expected.items():
        found = [figures[name] for figures in seen]
        assert found[:2] == pytest.approx(values[:2], abs=2e-4), name
        assert found == pytest.approx(values, abs=3e-3), name
    total = sum(float(weight.detach().double().abs().sum()) for weight in model.parameters())
    assert total == pytest.approx(3222.22866, abs=0.02)


@pytest.mark.long
def test_training_learns_the_text_and_reports(
    model: MPlus, maker: EpisodeMaker, tmp_path: Path
) -> None:
    optimizing = Optimizing(warmup=5, cooldown=5, tail=0.0)
    recipe = replace(SMALL, stages=SMALL.stages[:1], optimizing=optimizing)
    seen: list[Progress] = []
    loop = loop_of(model, maker, tmp_path, 50, recipe)
    with training_mode(model):
        loop.run(seen.append)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [25, 50]
    assert lines[-1]["language"] < 0.9 * lines[0]["language"]
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert [now.step for now in seen] == list(range(1, 51))
    assert seen[-1].seconds_left == 0
    assert not model.training


def test_a_stage_ends_when_its_accuracy_is_reached(model: MPlus, maker: EpisodeMaker) -> None:
    stages = (replace(SMALL.stages[0], advance=0.06), SMALL.stages[1])
    workload = NotesWorkload(model, replace(SMALL, stages=stages), maker)
    job = replace(workload.draw(0, 0), counts=True)
    workload.advance(replace(job, counts=False), {"right": 1.0})
    assert workload.standing == Standing()
    workload.advance(job, {"right": 1.0})
    assert workload.standing == Standing(0, pytest.approx(0.05))
    workload.advance(job, {"right": 1.0})
    assert workload.standing == Standing(1)
    assert workload.draw(1, 0).stage in stages


def test_a_resumed_run_keeps_its_rows_and_ends_in_the_same_bits(
    model: MPlus, maker: EpisodeMaker, tmp_path: Path
) -> None:
    begun = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizing = replace(SMALL.optimizing, easier=0.0, cooldown=1)
    recipe = replace(SMALL, optimizing=optimizing)
    loop = loop_of(model, maker, tmp_path / "whole", 5, recipe)
    workload_of(loop).standing.stage = 1
    loop.run()
    whole = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    def begin() -> None:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(begun[name])

    begin()
    first = loop_of(model, maker, tmp_path / "parts", 3, recipe)
    workload_of(first).standing.stage = 1
    first.run()
    begin()
    second = loop_of(model, maker, tmp_path / "parts", 5, recipe)
    second.resume()
    kept = workload_of(second).module.stepper
    assert kept.context is not None
    assert len(kept.earlier) == 2
    second.run()
    for name, weight in model.named_parameters():
        assert weight.equal(whole[name]), name


def test_episodes_are_not_divided_among_processes(model: MPlus, maker: EpisodeMaker) -> None:
    with pytest.raises(TrainingStartError, match="one process"):
        NotesWorkload(model, SMALL, maker, processes=2)


@pytest.mark.parametrize(
    ("cooldown", "steps", "begins"), [(0.5, 100, 50), (0.5, 10, 5), (20, 100, 80)]
)
def test_the_rate_falls_over_a_share_of_the_run_or_over_so_many_steps(
    cooldown: float, steps: int, begins: int
) -> None:
    recipe = replace(SMALL, optimizing=Optimizing(warmup=1, cooldown=cooldown))
    rates = [notes_pace(recipe, steps, 0).rate(1.0, step) for step in range(steps)]
    assert [rate == 1.0 for rate in rates] == [step <= begins for step in range(steps)]
    assert rates[-1] == pytest.approx(max(0.1, 1 / (steps - begins)))


def test_a_step_of_which_nothing_could_be_answered_decides_nothing(
    model: MPlus, maker: EpisodeMaker
) -> None:
    workload = NotesWorkload(model, SMALL, maker)
    workload.advance(replace(workload.draw(0, 0), counts=True), {"loss": 1.0})
    assert workload.standing == Standing()
