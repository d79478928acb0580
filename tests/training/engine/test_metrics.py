from __future__ import annotations

from pathlib import Path

import pytest

from memplus.errors import LibraryMissingError, StorageError
from memplus.training.engine.metrics import Metrics, read_metrics


def test_lines_hold_means_of_what_is_a_number(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.add({"loss": 2.0, "recall.0": float("nan")})
    metrics.add({"loss": 4.0, "recall.0": 0.5})
    metrics.write(2, "completion", rate=0.1)
    metrics.add({"loss": 1.0})
    metrics.write(4, "language", rate=0.2)
    first, second = read_metrics(tmp_path)
    assert first == {"step": 2, "task": "completion", "loss": 3.0, "recall.0": 0.5, "rate": 0.1}
    assert second == {"step": 4, "task": "language", "loss": 1.0, "rate": 0.2}


def test_a_run_taken_up_again_drops_the_lines_after_its_checkpoint(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for step in (2, 4, 6):
        metrics.write(step, "language")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "ta')  # killed while it wrote
    assert [line["step"] for line in read_metrics(tmp_path)] == [2, 4, 6]
    Metrics(tmp_path, 4).write(6, "again")
    steps = [(line["step"], line["task"]) for line in read_metrics(tmp_path)]
    assert steps == [(2, "language"), (4, "language"), (6, "again")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="metrics"):
        Metrics(tmp_path).write(1, "language")


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = Metrics(tmp_path, tensorboard=True)
    metrics.add({"loss.completion": 2.5})
    metrics.write(3, "completion", rate=0.1)
    metrics.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert read.Tags()["scalars"] == ["loss/completion", "rate"]
    found = read.Scalars("loss/completion")[0]
    assert (found.step, found.value) == (3, 2.5)


def test_without_tensorboard_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(LibraryMissingError, match=r"memplus\[tensorboard\]"):
        Metrics(tmp_path, tensorboard=True)
