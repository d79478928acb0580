from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.fakes import make_model
from tests.mplus.bundle_folders import known_base
from tests.training.settings import make_config, settings, stored, write_texts

from memplus.errors import ConfigError, NotFiniteError
from memplus.mplus.model import MPlus
from memplus.training.text.run_config import TrainingConfig, parse_config
from memplus.training.text.runs import TextRun


def weights_of(config: TrainingConfig) -> dict[str, torch.Tensor]:
    """Of the finished model's checkpoint."""
    newest = sorted((config.run.out / "checkpoints").iterdir())[-1]
    return load_file(newest / "weights.safetensors")


def elsewhere(config: TrainingConfig, name: str, steps: int | None = None) -> TrainingConfig:
    run = replace(config.run, out=config.run.out.parent / name, steps=steps or config.run.steps)
    return replace(config, run=run)


@pytest.mark.parametrize("stage", [make_config, stored], ids=["no store", "store"])
def test_a_run_taken_up_again_ends_in_the_same_bits(tmp_path: Path, stage: object) -> None:
    write_texts(tmp_path)
    assert callable(stage)
    config = stage(tmp_path, run={"accumulate": 2}, optimizer={"schedule": "constant"})
    TextRun(config).run()
    parts = elsewhere(config, "parts", steps=3)
    TextRun(parts).run()
    TextRun(elsewhere(config, "parts"), resume=True).run()
    one, two = weights_of(config), weights_of(parts)
    assert one.keys() == two.keys()
    for name, weight in one.items():
        assert weight.equal(two[name]), name
    assert len(list((config.run.out / "checkpoints").iterdir())) == 2
    finals = [one.run.out / "final/record.json" for one in (config, parts)]
    whole, again = (json.loads(one.read_text())["trained"] for one in finals)
    assert whole == again
    assert whole["text_tokens"] > 0


def test_a_finished_run_is_a_model_with_a_full_pool(tmp_path: Path) -> None:
    write_texts(tmp_path)
    config = stored(tmp_path)
    folder = TextRun(config).run()
    model = MPlus.from_pretrained(folder)
    assert model.memory_config == config.memory
    assert model.new_memory().short_term_rows == config.memory.short_term_tokens
    for name, weight in weights_of(config).items():
        assert model.get_parameter(name.removeprefix("model.")).equal(weight), name
    lines = (config.run.out / "metrics.jsonl").read_text().splitlines()
    assert {"loss", "gradient", "rate", "tokens_per_second"} <= json.loads(lines[-1]).keys()


def test_stages_start_from_one_another(tmp_path: Path) -> None:
    write_texts(tmp_path)
    first = make_config(tmp_path)
    final = TextRun(first).run()
    model = {"start": str(final), "trainable": "all", "gradient_checkpointing": True}
    second = stored(tmp_path, model=model, run={"out": str(tmp_path / "second"), "steps": 2})
    run = TextRun(second)
    before = MPlus.from_pretrained(final)
    rows = run.workload.module.memory.rows(1)
    assert before.pristine.short_term is not None
    assert rows[1].equal(before.pristine.short_term[1])
    for name, weight in before.model.named_parameters():
        assert weight.equal(run.model.model.get_parameter(name)), name
    trained = MPlus.from_pretrained(run.run())
    assert trained.memory_config.retrieved_tokens == 8


def adapted(folder: Path, model: dict[str, str], **run: object) -> TrainingConfig:
    """Two steps of training adapters."""
    made = settings(folder, model=model | {"trainable": "adapters"}, run={"steps": 2, **run})
    made["memory"] |= {"adapters": {"rank": 2, "alpha": 4}}
    return parse_config(yaml.safe_dump(made))


def test_adapters_trained_on_a_base_model_are_saved_over_it_stage_after_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_base(tmp_path / "known", monkeypatch)
    write_texts(tmp_path)
    first = adapted(tmp_path, {"backbone": "tiny"})
    final = TextRun(first).run()
    assert {path.name for path in final.iterdir()} == {
        "adapters.safetensors", "generation_config.json", "memplus.json", "record.json"
    }  # fmt: skip
    model = MPlus.from_pretrained(final, dtype="auto")
    for name, weight in weights_of(first).items():
        assert model.get_parameter(name.removeprefix("model.")).equal(weight), name
    second = adapted(tmp_path, {"start": str(final)}, out=str(tmp_path / "second"))
    final = TextRun(second).run()
    assert json.loads((final / "memplus.json").read_text())["base"]["name"] == "tiny"
    model = MPlus.from_pretrained(final, dtype="auto")
    for name, weight in weights_of(second).items():
        assert model.get_parameter(name.removeprefix("model.")).equal(weight), name


@pytest.mark.parametrize("save", ["auto", "whole", "adapters"])
def test_what_a_run_over_a_directory_leaves_is_whole_unless_adapters_are_asked_for(
    tmp_path: Path, save: str
) -> None:
    write_texts(tmp_path)
    config = adapted(tmp_path, {"backbone": str(tmp_path / "tiny")}, save=save)
    final = TextRun(config).run()
    assert (final / "model.safetensors").exists() == (save != "adapters")
    assert (final / "adapters.safetensors").exists() == (save == "adapters")
    model = MPlus.from_pretrained(final)
    for name, weight in weights_of(config).items():
        assert model.get_parameter(name.removeprefix("model.")).equal(weight), name


def test_a_base_model_trained_whole_is_saved_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_base(tmp_path / "known", monkeypatch)
    write_texts(tmp_path)
    model = {"backbone": "tiny", "trainable": "all"}
    final = TextRun(make_config(tmp_path, model=model, run={"steps": 1})).run()
    assert (final / "model.safetensors").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_last_checkpoint(
    tmp_path: Path,
) -> None:
    write_texts(tmp_path)
    config = make_config(tmp_path)
    run = TextRun(config)

    def spoil(now: object) -> None:
        if run.loop.step == 4:
            with torch.no_grad():
                run.model.backbone.embedding.weight.fill_(float("nan"))

    with pytest.raises(NotFiniteError) as caught:
        run.run(spoil)
    assert caught.value.fields["step"] == 5
    assert caught.value.fields["task"] in {task.label for task in config.tasks}
    kept = weights_of(config)
    assert all(bool(weight.isfinite().all()) for weight in kept.values())
    assert [p.name for p in (config.run.out / "checkpoints").iterdir()] == ["00000003"]


def test_a_folder_with_a_run_is_not_written_over(tmp_path: Path) -> None:
    write_texts(tmp_path)
    config = make_config(tmp_path, run={"steps": 1})
    TextRun(config).run()
    with pytest.raises(ConfigError, match="--resume"):
        TextRun(config).run()


def test_a_run_is_resumed_as_what_it_was_begun_as(tmp_path: Path) -> None:
    write_texts(tmp_path)
    TextRun(make_config(tmp_path, run={"steps": 3})).run()
    kept = {one: one.read_bytes() for one in (tmp_path / "run").rglob("*") if one.is_file()}

    def refused(field: str, **changes: Any) -> None:
        with pytest.raises(ConfigError) as caught:
            TextRun(make_config(tmp_path, **changes), resume=True)
        assert caught.value.fields["field"] == field
        assert {one: one.read_bytes() for one in kept} == kept

    refused("run.steps", run={"steps": 2})
    refused("memory.short_term_tokens", memory={"short_term_tokens": 32})
    refused("optimizer.learning_rate", optimizer={"learning_rate": 1e-3})
    refused("run.seed", run={"seed": 5})
    texts = tmp_path / "texts.jsonl"
    told = texts.read_text(encoding="utf-8")
    texts.write_text(told.replace("lantern", "harbour", 1), encoding="utf-8")
    refused("data.texts")
    moved = tmp_path / "moved.jsonl"
    moved.write_text(told, encoding="utf-8")
    again = make_config(tmp_path, data={"texts": [str(moved)]}, run={"steps": 4, "report": 1})
    final = TextRun(again, resume=True).run()
    assert json.loads((final / "record.json").read_text())["trained"]["steps"] == 4


def test_a_run_on_another_decoder_is_not_resumed(tmp_path: Path) -> None:
    write_texts(tmp_path)
    model = {"backbone": str(tmp_path / "tiny")}
    adapters = {"adapters": {"rank": 2}}
    config = make_config(tmp_path, run={"steps": 1}, model=model, memory=adapters)
    TextRun(config).run()
    (tmp_path / "tiny").rename(tmp_path / "moved")
    moved = replace(config, model=replace(config.model, backbone=str(tmp_path / "moved")))
    TextRun(moved, resume=True)
    make_model(seed=9).save_pretrained(tmp_path / "moved")
    with pytest.raises(ConfigError, match="model"):
        TextRun(moved, resume=True)


KILLED = """
import sys, os
from pathlib import Path
from memplus.training.text.run_config import load_config
from memplus.training.text.runs import TextRun
def progress(now):
    print(now.step, flush=True)
TextRun(load_config(Path(sys.argv[1]))).run(progress)
"""


@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    import yaml

    write_texts(tmp_path)
    changes = {"run": {"steps": 20, "checkpoint": 2, "stored_rows": 40}}
    given = settings(tmp_path, memory={"retrieved_tokens": 8}, **changes)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(given))
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "config.yaml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    with child:
        assert child.stdout is not None
        while child.stdout.readline() != "7\n":
            assert child.poll() is None
        time.sleep(0.05)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    config = make_config(tmp_path, memory={"retrieved_tokens": 8}, **changes)
    steps = [int(path.name) for path in (config.run.out / "checkpoints").glob("[0-9]*")]
    assert 6 <= max(steps) < 20
    TextRun(config, resume=True).run()
    whole = elsewhere(config, "whole")
    TextRun(whole).run()
    two = weights_of(whole)
    for name, weight in weights_of(config).items():
        assert weight.equal(two[name]), name


@pytest.mark.long
def test_adapters_learn_in_half_precision_beside_frozen_weights(tmp_path: Path) -> None:
    """Two adapters with dropout, layers computed again, bfloat16; killed and taken up again."""
    write_texts(tmp_path)
    model = {
        "backbone": str(tmp_path / "tiny"),
        "trainable": "adapters",
        "dtype": "bfloat16",
        "gradient_checkpointing": True,
    }
    adapters = {"rank": 2, "alpha": 4, "dropout": 0.1}
    config = make_config(
        tmp_path,
        model=model,
        memory={"adapters": adapters, "retrieved_tokens": 8},
        run={"precision": "bfloat16", "stored_rows": 40, "steps": 8, "checkpoint": 4},
        optimizer={"schedule": "constant"},
    )
    run = TextRun(config)
    before = {name: weight.detach().clone() for name, weight in run.model.named_parameters()}
    run.run()
    moved = {n for n, w in run.model.named_parameters() if not w.equal(before[n])}
    assert {n for n, w in run.model.named_parameters() if w.requires_grad} == moved
    assert any("decoder_adapter" in name for name in moved)
    assert any(".default." in name for name in moved)
    parts = elsewhere(config, "parts", steps=4)
    TextRun(parts).run()
    final = TextRun(elsewhere(config, "parts"), resume=True).run()
    two = weights_of(parts)
    for name, weight in weights_of(config).items():
        assert weight.equal(two[name]), name
    loaded = MPlus.from_pretrained(final)
    assert loaded.memory_config.adapters == config.memory.adapters
