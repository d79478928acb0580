"""A toy's weights from a config: resumed to the bit, and begun from an earlier stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.systems.conftest import SHARED
from tests.training.latent.settings import BOOKS, QUESTIONS, make_config
from tests.training.latent.toy import LearnerOptions, LearnerSystem

from memplus.errors import ConfigError, WeightsError
from memplus.systems.latent.weights import read_record
from memplus.training.engine.learning_curves import draw_run
from memplus.training.engine.metrics import read_metrics
from memplus.training.latent.run_config import SystemRunConfig
from memplus.training.latent.runs import SystemRun


def weights_of(config: SystemRunConfig) -> dict[str, torch.Tensor]:
    newest = sorted((config.run.out / "checkpoints").iterdir())[-1]
    return load_file(newest / "weights.safetensors")


def changed(config: SystemRunConfig, name: str, steps: int | None = None) -> SystemRunConfig:
    run = replace(config.run, out=config.run.out.parent / name, steps=steps or config.run.steps)
    return replace(config, run=run)


@pytest.mark.long
@pytest.mark.parametrize(("cut", "through_time"), [(1, True), (3, True), (2, False)])
def test_a_run_taken_up_again_ends_in_the_same_bits(
    tmp_path: Path, cut: int, *, through_time: bool
) -> None:
    """In the middle of a window as well as between two of them."""
    books = BOOKS | {"segments": 5, "per_step": 2}
    config = make_config(
        tmp_path,
        options={"through_time": through_time},
        tasks=[books, QUESTIONS],
        run={"accumulate": 2, "steps": 4},
        optimizer={"schedule": "constant"},
    )
    whole = SystemRun(config)
    whole.run()
    SystemRun(changed(config, "parts", cut)).run()
    again = SystemRun(changed(config, "parts"), resume=True)
    again.run()
    one, two = weights_of(config), weights_of(changed(config, "parts"))
    assert one.keys() == two.keys()
    for name, weight in one.items():
        assert weight.equal(two[name]), name
    assert again.workload.counts == whole.workload.counts
    assert whole.workload.counts["questions"] > 0


def test_a_finished_run_is_a_system_s_weights_with_figures_and_a_picture(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    seen = []
    run = SystemRun(config)
    folder = run.run(seen.append)
    record = read_record(folder)
    assert (record.system, record.base) == ("learner", config.base)
    assert record.sizes == {"segment": 16, "rank": 2}
    assert record.trained["steps"] == 6
    assert record.trained["question_tokens"] == run.workload.counts["question_tokens"] > 0
    made = load_file(folder / "weights.safetensors")
    trained = weights_of(config)
    for name, weight in trained.items():
        assert weight.bfloat16().equal(made[name.removeprefix("mechanism.")]), name
    lines = read_metrics(config.run.out)
    assert len(lines) == 6
    for line in lines:
        assert {"loss", f"loss.{line['task']}", "gradient", "rate", "tokens_per_second"} <= {*line}
    assert {line["task"] for line in lines} == {"books", "questions"}
    assert seen[-1].step == 6
    assert seen[-1].tokens_per_second > 0
    draw_run(config.run.out, tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 1000


def test_what_a_run_wrote_opens_as_the_system(tmp_path: Path) -> None:
    config = make_config(tmp_path, run={"steps": 2})
    folder = SystemRun(config).run()
    options = LearnerOptions(weights=str(folder), segment=16)
    mechanism = LearnerSystem(SHARED, options).mechanism
    made = load_file(folder / "weights.safetensors")
    for name, weight in mechanism.trained().items():
        assert weight.equal(made[name].float()), name


def test_a_stage_begins_with_the_weights_of_another_and_says_so(tmp_path: Path) -> None:
    first = make_config(tmp_path, run={"steps": 2})
    final = SystemRun(first).run()
    second = replace(changed(first, "second", 1), start=final)
    run = SystemRun(second)
    for name, weight in load_file(final / "weights.safetensors").items():
        assert run.mechanism.trained()[name].equal(weight.float()), name
    assert all(weight.requires_grad for weight in run.mechanism.parameters())
    assert read_record(run.run()).trained["start"]["steps"] == 2


def test_a_start_of_another_system_or_shape_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path, run={"steps": 1})
    final = SystemRun(config).run()
    wider = replace(changed(config, "wide"), start=final, options={"segment": 16, "rank": 3})
    with pytest.raises(WeightsError, match=r"lora.*\[2, .*\[3, "):
        SystemRun(wider)
    record = (final / "record.json").read_text().replace('"learner"', '"other"')
    (final / "record.json").write_text(record)
    with pytest.raises(ConfigError, match="trained for other"):
        SystemRun(replace(changed(config, "other"), start=final))


def test_learning_makes_the_loss_fall(tmp_path: Path) -> None:
    config = make_config(tmp_path, tasks=[BOOKS], run={"steps": 24, "report": 6})
    SystemRun(config).run()
    lines = read_metrics(config.run.out)
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.3


def test_the_decoder_stays_as_it_is(tmp_path: Path) -> None:
    run = SystemRun(make_config(tmp_path, run={"steps": 2}))
    before = {name: one.clone() for name, one in run.base.backbone.model.named_parameters()}
    run.run()
    for name, weight in run.base.backbone.model.named_parameters():
        assert weight.equal(before[name]), name
