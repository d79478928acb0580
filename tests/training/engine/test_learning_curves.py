from __future__ import annotations

from pathlib import Path

import pytest

from memplus.errors import NotARunError, NotFoundError
from memplus.training.engine.learning_curves import draw_run
from memplus.training.engine.metrics import Metrics

PNG = b"\x89PNG"


def run_with(folder: Path, **figures: float) -> Path:
    folder.mkdir()
    metrics = Metrics(folder)
    for step in (10, 20, 30):
        metrics.add({name.replace("_", "."): value / step for name, value in figures.items()})
        metrics.write(step, "completion", rate=0.1)
    return folder


def test_losses_and_recalls_become_a_picture(tmp_path: Path) -> None:
    plain = run_with(tmp_path / "plain", loss=3.0, loss_completion=2.0)
    stored = run_with(tmp_path / "stored", loss=3.0, recall_0=0.5, recall_1=0.4, chance_0=0.1)
    for run in (plain, stored):
        draw_run(run, run / "curves.png")
        assert (run / "curves.png").read_bytes().startswith(PNG)
    heights = [int.from_bytes((run / "curves.png").read_bytes()[20:24]) for run in (plain, stored)]
    assert heights[1] > 1.5 * heights[0]


def test_a_folder_without_figures_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match=r"holds no metrics\.jsonl"):
        draw_run(tmp_path, tmp_path / "a.png")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(NotARunError, match="no line of figures"):
        draw_run(tmp_path, tmp_path / "a.png")
    run = run_with(tmp_path / "run", loss=1.0)
    with pytest.raises(NotFoundError):
        draw_run(run, tmp_path / "none" / "a.png")
