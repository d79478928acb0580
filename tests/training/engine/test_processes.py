"""Several processes, started as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from tests.training.settings import STORE, make_config, settings, write_texts
from tests.warm import python

from memplus.errors import ConfigError, TrainingStartError
from memplus.training.engine.metrics import read_metrics
from memplus.training.engine.processes import Processes
from memplus.training.text.runs import TextRun
from memplus.training.text.text_cache import load_documents
from memplus.training.text.workload import TextWorkload

RUN = {"stored_rows": 40, "documents": 4, "report": 1, "steps": 3, "accumulate": 2, "checkpoint": 2}


def started(folder: Path, name: str, *flags: str, **changes: Any) -> Path:
    """Train in two processes; the run's folder."""
    given = settings(folder, memory=STORE, run=RUN | changes)
    (place := folder / f"{name}.yaml").write_text(yaml.safe_dump(given))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python"]
    command = [*python(), "-m", "memplus.cli.main", "train", "--config", str(place), *flags]
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
    """Losses to 1e-5, and weights."""
    first, second = read_metrics(one), read_metrics(two)
    assert len(first) == len(second) == 3
    for line, other in zip(first, second, strict=True):
        names = [name for name in line if name.startswith(("loss", "retriever", "recall"))]
        assert len(names) > 2
        for name in names:
            assert other[name] == pytest.approx(line[name], abs=1e-5), name
    kept = [load_file(run / "final" / "model.safetensors") for run in (one, two)]
    assert kept[0].keys() == kept[1].keys()
    for name, tensor in kept[0].items():
        assert (tensor - kept[1][name]).abs().max() < 2e-4, name


@pytest.mark.long
def test_two_processes_give_the_losses_and_weights_of_one(tmp_path: Path) -> None:
    write_texts(tmp_path)
    TextRun(make_config(tmp_path, memory=STORE, run=RUN)).run()
    expect_equal_runs(tmp_path / "run", started(tmp_path, "two"))


@pytest.mark.slow
def test_sharded_weights_learn_the_same_and_go_on(tmp_path: Path) -> None:
    write_texts(tmp_path)
    TextRun(make_config(tmp_path, memory=STORE, run=RUN)).run()
    started(tmp_path, "sharded", "--steps", "2", sharded=True)
    again = started(tmp_path, "sharded", "--resume", sharded=True)
    # The rate falls towards the last step, so a run of two steps has another second one.
    assert [line["step"] for line in read_metrics(again)] == [1, 2, 3]
    straight = started(tmp_path, "straight", sharded=True)
    expect_equal_runs(tmp_path / "run", straight)


def test_documents_are_divided_evenly_or_not_at_all(tmp_path: Path) -> None:
    write_texts(tmp_path)
    config = make_config(tmp_path, run={"documents": 3})
    run = TextRun(config)
    documents = load_documents(config.data, run.model.tokenizer)
    with pytest.raises(ConfigError, match="2 processes"):
        TextWorkload(run.model, config, documents, processes=2)


def test_one_process_has_nothing_to_shard(tmp_path: Path) -> None:
    write_texts(tmp_path)
    with pytest.raises(TrainingStartError, match="only one"):
        TextRun(make_config(tmp_path, run={"sharded": True}))


def test_processes_that_do_not_find_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(TrainingStartError, match="2 processes"):
        Processes()
