from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import make_model
from tests.training.masked.settings import make_config, write_base

from memplus.backbone.access import Backbone
from memplus.errors import ConfigError, NotARunError, TokenizerMissingError
from memplus.mplus.adapter_folder import load_adapter, read_record
from memplus.training.engine.learning_curves import draw_run
from memplus.training.engine.metrics import read_metrics
from memplus.training.masked.run_config import AdapterRunConfig
from memplus.training.masked.runs import AdapterRun


def weights_of(config: AdapterRunConfig) -> dict[str, torch.Tensor]:
    newest = sorted((config.run.out / "checkpoints").iterdir())[-1]
    return load_file(newest / "weights.safetensors")


def changed(config: AdapterRunConfig, name: str, steps: int) -> AdapterRunConfig:
    run = replace(config.run, out=config.run.out.parent / name, steps=steps)
    return replace(config, run=run)


def test_a_run_taken_up_again_ends_in_the_same_bits(tmp_path: Path) -> None:
    write_base(tmp_path)
    config = make_config(tmp_path, optimizer={"schedule": "constant"})
    AdapterRun(config).run()
    AdapterRun(changed(config, "parts", 2)).run()
    AdapterRun(changed(config, "parts", 4), resume=True).run()
    one, two = weights_of(config), weights_of(changed(config, "parts", 4))
    assert one.keys() == two.keys()
    for name, weight in one.items():
        assert weight.equal(two[name]), name


def test_a_finished_run_is_an_adapter_of_its_base_with_figures_and_a_picture(
    tmp_path: Path,
) -> None:
    write_base(tmp_path)
    config = make_config(tmp_path)
    seen = []
    folder = AdapterRun(config).run(seen.append)
    record = read_record(folder)
    assert record.sizes == config.adapter
    assert record.base == config.base
    assert record.trained["steps"] == 4
    backbone = Backbone(make_model(changes={"max_position_embeddings": 2048}))
    lora = load_adapter(folder, backbone, record.weights)
    trained = weights_of(config)
    for place, weight in enumerate(lora.up):
        assert bool(weight.any())
        assert weight.equal(trained[f"lora.up.{place}"].bfloat16().float())
    lines = read_metrics(config.run.out)
    assert {"loss", "right", "rate", "tokens_per_second"} <= lines[-1].keys()
    assert seen[-1].step == 4
    draw_run(config.run.out, tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 1000


@pytest.mark.long
def test_learning_makes_the_loss_fall(tmp_path: Path) -> None:
    write_base(tmp_path)
    config = make_config(tmp_path, run={"steps": 40, "report": 40 // 4})
    AdapterRun(config).run()
    lines = read_metrics(config.run.out)
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.3


def test_a_folder_with_a_run_is_kept_and_one_without_cannot_be_resumed(tmp_path: Path) -> None:
    write_base(tmp_path)
    config = make_config(tmp_path, run={"steps": 1})
    AdapterRun(config).run()
    with pytest.raises(ConfigError, match="--resume"):
        AdapterRun(config)
    with pytest.raises(NotARunError):
        AdapterRun(changed(config, "absent", 2), resume=True)


def test_a_base_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    for file in write_base(tmp_path).glob("*token*"):
        file.unlink()
    with pytest.raises(TokenizerMissingError):
        AdapterRun(make_config(tmp_path))
