"""Two processes learn what one learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from tests.training.latent.settings import BOOKS, QUESTIONS, make_config, settings
from tests.training.latent.test_systems import SMALL, THERE
from tests.warm import python

from memplus.training.engine.metrics import read_metrics
from memplus.training.latent.runs import SystemRun

STARTED = """
from tests.training.latent.settings import register
register()
from memplus.cli.main import main
main()
"""
RUN = {"documents": 2, "steps": 4, "accumulate": 2, "checkpoint": 2}


def started(folder: Path, name: str, *flags: str, **changes: Any) -> Path:
    """Train in two processes; the run's folder."""
    place = folder / f"{name}.yaml"
    place.write_text(yaml.safe_dump(settings(folder, run=RUN, **changes)))
    (folder / "started.py").write_text(STARTED)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python"]
    command = [*python(), str(folder / "started.py"), "train", "--config", str(place), *flags]
    done = subprocess.run(
        [*python(), *launcher, *command, "--out", str(folder / name)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The model is in") == 1
    return folder / name


def expect_equal_runs(one: Path, two: Path) -> None:
    """Losses and gradients of every step, and weights."""
    first, second = read_metrics(one), read_metrics(two)
    assert len(first) == len(second) == RUN["steps"]
    for line, other in zip(first, second, strict=True):
        # Parts of a loss are means over what each process has of their kind.
        for name in ("loss", f"loss.{line['task']}", "gradient"):
            assert other[name] == pytest.approx(line[name], rel=1e-4), name
    kept = [load_file(sorted((run / "checkpoints").iterdir())[-1] / "weights.safetensors")
            for run in (one, two)]  # fmt: skip
    assert kept[0].keys() == kept[1].keys()
    for name, tensor in kept[0].items():
        assert (tensor - kept[1][name]).abs().max() < 2e-4, name


@pytest.mark.long
def test_two_processes_give_the_losses_and_weights_of_one_and_go_on(tmp_path: Path) -> None:
    optimizer = {"schedule": "constant"}
    SystemRun(make_config(tmp_path, run=RUN, optimizer=optimizer)).run()
    started(tmp_path, "two", "--steps", "2", optimizer=optimizer)
    expect_equal_runs(tmp_path / "run", started(tmp_path, "two", "--resume", optimizer=optimizer))


@pytest.mark.long
@pytest.mark.parametrize("name", THERE)
def test_two_processes_learn_what_one_does_whatever_the_system_is(
    name: str, tmp_path: Path
) -> None:
    """Above all where gradients go through several segments, as those of HMT do."""
    changes = {
        "system": name,
        "options": dict(SMALL[name]),
        "tasks": [BOOKS, QUESTIONS | {"segments": [1, 2], "tail_tokens": 10}],
        "optimizer": {"schedule": "constant", "learning_rate": 1e-3},
    }
    SystemRun(make_config(tmp_path, run=RUN, **changes)).run()
    assert {line["task"] for line in read_metrics(tmp_path / "run")} == {"books", "questions"}
    expect_equal_runs(tmp_path / "run", started(tmp_path, "two", **changes))
