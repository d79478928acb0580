"""The loop by itself, on a line fitted to points."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memplus.errors import ConfigError, NotFiniteError, TrainingError
from memplus.training.engine.checkpoints import Checkpoints
from memplus.training.engine.loop import Loop, Pace, Progress
from memplus.training.engine.metrics import read_metrics


@dataclass(frozen=True)
class Points:
    x: Tensor
    label: str = "points"
    tokens: int = 3


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))

    def forward(self, job: Points) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (self.slope * job.x - 3 * job.x).square().mean()
        return loss, {"loss": loss.detach(), "half": loss.detach() / 2}


class Fitting:
    """A workload that counts."""

    def __init__(self) -> None:
        self.module = Line()
        self.drawn: list[tuple[int, int]] = []
        self.advanced: list[float] = []
        self.spoiled = -1

    def draw(self, step: int, part: int) -> Points:
        self.drawn.append((step, part))
        x = torch.arange(1.0, 4.0) + part
        return Points(x * float("inf") if step == self.spoiled else x)

    def advance(self, job: Points, figures: dict[str, float]) -> None:
        self.advanced.append(figures["loss"])

    def tensors(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(len(self.drawn))}

    def state(self) -> dict[str, Any]:
        return {"advanced": len(self.advanced)}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.drawn = [(0, 0)] * int(tensors["count"])
        self.advanced = [0.0] * state["advanced"]


PACE = Pace(6, lambda base, step: base / (step + 1), report=2, checkpoint=2, clip=1e9)


def loop_of(folder: Path, pace: Pace = PACE) -> tuple[Loop, Fitting]:
    fitting = Fitting()
    return Loop(
        fitting, [torch.optim.SGD(fitting.module.parameters(), 0.01)], folder, pace
    ), fitting


def test_steps_follow_the_mean_gradient_of_their_parts(tmp_path: Path) -> None:
    loop, fitting = loop_of(tmp_path, replace(PACE, accumulate=2))
    seen: list[Progress] = []
    loop.run(seen.append)
    slope = 0.0
    for step in range(6):
        squares = [sum((i + part) ** 2 for i in (1, 2, 3)) / 3 for part in (0, 1)]
        slope -= 0.01 / (step + 1) * sum(2 * (slope - 3) * square for square in squares) / 2
    assert float(fitting.module.slope.detach()) == pytest.approx(slope, rel=1e-5)
    assert fitting.drawn == [(step, part) for step in range(6) for part in (0, 1)]
    assert len(fitting.advanced) == 12
    assert [now.step for now in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[-1].seconds_left == 0
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[0]["half"] == pytest.approx(lines[0]["loss"] / 2, rel=1e-4)
    assert lines[1]["rate"] == pytest.approx(0.01 / 4)


def test_gradients_are_clipped(tmp_path: Path) -> None:
    loop, fitting = loop_of(tmp_path, replace(PACE, steps=1, clip=0.5))
    loop.run()
    assert float(fitting.module.slope.detach()) == pytest.approx(0.01 * 0.5, rel=1e-4)


def test_it_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    whole, fitted = loop_of(tmp_path / "whole")
    whole.run()
    loop_of(tmp_path / "parts", replace(PACE, steps=4))[0].run()
    loop, fitting = loop_of(tmp_path / "parts")
    loop.resume()
    assert (loop.step, len(fitting.drawn), len(fitting.advanced)) == (4, 4, 4)
    loop.run()
    assert fitting.module.slope.equal(fitted.module.slope)
    assert len(Checkpoints(tmp_path / "parts").paths()) == 2


def test_what_is_not_finite_stops_it_before_anything_moves(tmp_path: Path) -> None:
    loop, fitting = loop_of(tmp_path)
    fitting.spoiled = 3
    with pytest.raises(NotFiniteError, match=r"step 4.*'points'"):
        loop.run()
    assert bool(fitting.module.slope.isfinite())
    assert Checkpoints(tmp_path).latest()[1]["step"] == 2

    class Steep(Line):
        def forward(self, job: Points) -> tuple[Tensor, dict[str, Tensor]]:
            return self.slope.abs().sqrt(), {"loss": torch.zeros(())}

    fitting = Fitting()
    fitting.module = Steep()
    optimizers = [torch.optim.SGD(fitting.module.parameters(), 0.01)]
    with pytest.raises(NotFiniteError, match="gradient"):
        Loop(fitting, list(optimizers), tmp_path / "steep", PACE).run()


def test_a_run_is_not_resumed_as_another_or_with_fewer_steps_than_are_done(tmp_path: Path) -> None:
    def loop(steps: int, **description: object) -> Loop:
        fitting = Fitting()
        optimizers: list[torch.optim.Optimizer] = [torch.optim.SGD(fitting.module.parameters(), 1)]
        pace = replace(PACE, steps=steps)
        return Loop(fitting, optimizers, tmp_path, pace, description=description)

    loop(4, texts="these").run()
    with pytest.raises(ConfigError, match="begun with 'these'"):
        loop(6, texts="those").resume()
    with pytest.raises(ConfigError, match="4 steps are done"):
        loop(3, texts="these").resume()
    for steps in (4, 6):
        going = loop(steps, texts="these")
        going.resume()
        assert going.step == 4
    state = Checkpoints(tmp_path).paths()[-1] / "state.json"
    found = json.loads(state.read_text())
    del found["run"]  # of a release that did not describe its runs
    state.write_text(json.dumps(found))
    loop(6, texts="those").resume()


def test_a_checkpoint_of_other_processes_or_weights_is_refused(tmp_path: Path) -> None:
    loop, _ = loop_of(tmp_path)
    loop.run()
    path = Checkpoints(tmp_path).paths()[-1] / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"processes": 2}))
    with pytest.raises(TrainingError, match="2 processes"):
        loop_of(tmp_path)[0].resume()
    path.write_text(json.dumps(state))
    other, fitting = loop_of(tmp_path)
    fitting.module.register_parameter("offset", nn.Parameter(torch.zeros(())))
    with pytest.raises(TrainingError, match="offset"):
        other.resume()
