from collections.abc import Callable
from pathlib import Path
from typing import Any

from memplus.training.engine.metrics import Metrics

Run = Callable[..., Any]


def test_a_run_is_drawn_into_its_folder_or_elsewhere(run: Run, tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.add({"loss": 2.0})
    metrics.write(1, "completion")
    ran = run("plot", tmp_path, "--json")
    assert (ran.code, ran.data) == (0, {"picture": str(tmp_path / "curves.png")})
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert run("plot", tmp_path, "--out", tmp_path / "other.png").code == 0
    assert (tmp_path / "other.png").is_file()


def test_a_folder_that_is_no_run_is_named(run: Run, tmp_path: Path) -> None:
    ran = run("plot", tmp_path, "--json")
    assert (ran.code, ran.data["error"]["type"]) == (1, "TrainingError")
