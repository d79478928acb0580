from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty", "it holds no metrics.jsonl"),
        ("absent", "there is no such folder"),
        ("file", "it is a file"),
        ("other", "names no step"),
    ],
)
def test_a_wrong_folder_is_the_users_mistake_and_told_from_a_run(
    run: Run, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.jsonl").write_text('{"accuracy": 0.5}\n')
    (tmp_path / "file").write_text("a book")
    ran = run("plot", tmp_path / name, "--json")
    assert (ran.code, ran.data["error"]["type"]) == (2, "NotARunError")
    assert reason in ran.data["error"]["message"]
    for part in ("metrics.jsonl", "checkpoints", "final"):
        assert part in ran.data["error"]["hint"]
    assert "Training stopped" not in ran.data["error"]["message"]
