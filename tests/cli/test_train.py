import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.training.latent.settings import settings as system_settings
from tests.training.masked.settings import settings as adapter_settings
from tests.training.masked.settings import write_base
from tests.training.settings import settings, write_texts

from memplus.cli.output import Output
from memplus.cli.train import _show
from memplus.mplus.adapter_folder import read_record
from memplus.mplus.model import MPlus
from memplus.systems.latent.weights import read_record as read_weights_record
from memplus.systems.registry import SYSTEMS
from memplus.training.engine.loop import Progress

RECIPE = """
memory:
  short_term_tokens: 48
  retrieved_tokens: 8
  tokens_per_write: 32
  chunk_tokens: 32
  retriever_dim: 8
architecture:
  layers: 1
  hidden: 32
  heads: 2
  feed_forward: 48
  vocabulary: 1200
  positions: 512
optimizing:
  warmup: 1
  cooldown: 1
  scored: 4
stages:
  - name: one
    documents: 4
    questions: 2
    notes: [1]
    advance: 2.0
"""
SENTENCES = "The road went down to the sea. Nobody had walked there since the spring! " * 40
Run = Callable[..., Any]


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    (tmp_path / "book.txt").write_text(SENTENCES)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = tmp_path / "recipe.yaml"
    return [tmp_path / "book.txt", "--out", tmp_path / "run", "--recipe", recipe, "--json"]


def test_a_run_ends_in_a_model_that_loads_and_can_be_taken_up_again(
    run: Run, tmp_path: Path, arguments: list[object]
) -> None:
    ran = run("train", "nano", *arguments, "--steps", 2)
    assert ran.code == 0
    assert ran.data["last"]["step"] == 2
    model = MPlus.from_pretrained(ran.data["model"])
    assert model.memory_config.short_term_tokens == 48
    assert model.new_memory().short_term_rows == 48
    further = run("train", "nano", *arguments, "--steps", 3, "--resume")
    assert (further.data["last"]["step"], further.data["last"]["steps"]) == (3, 3)


def test_a_run_without_a_checkpoint_cannot_be_taken_up(
    run: Run, tmp_path: Path, arguments: list[object]
) -> None:
    ran = run("train", "nano", *arguments, "--resume")
    assert (ran.code, ran.data["error"]["type"]) == (2, "NotARunError")
    assert str(tmp_path / "run") in ran.data["error"]["message"]
    assert "no checkpoint to resume from" in ran.data["error"]["message"]


def test_an_absent_text_and_a_wrong_recipe_are_named(
    run: Run, tmp_path: Path, arguments: list[object]
) -> None:
    ran = run("train", "nano", tmp_path / "none.txt", *arguments[1:])
    assert (ran.code, ran.data["error"]["type"]) == (2, "NotFoundError")
    (tmp_path / "recipe.yaml").write_text(RECIPE + "extras: {}\n")
    ran = run("train", "nano", *arguments)
    assert (ran.code, ran.data["error"]["type"]) == (2, "ConfigFileError")


def test_a_run_from_a_config_ends_in_a_model_and_its_flags_win(run: Run, tmp_path: Path) -> None:
    write_texts(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings(tmp_path)))
    given = ["--config", tmp_path / "config.yaml", "--out", tmp_path / "other", "--json"]
    ran = run("train", *given, "--steps", 2)
    assert (ran.code, ran.data["last"]["step"]) == (0, 2)
    assert ran.data["model"] == str(tmp_path / "other" / "final")
    assert MPlus.from_pretrained(ran.data["model"]).memory_config.short_term_tokens == 24
    further = run("train", *given, "--steps", 3, "--resume")
    assert (further.data["last"]["step"], further.data["last"]["steps"]) == (3, 3)
    again = run("train", *given)
    assert (again.code, again.data["error"]["type"]) == (2, "ConfigError")


def test_a_config_of_an_adapter_ends_in_an_adapter(run: Run, tmp_path: Path) -> None:
    write_base(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(adapter_settings(tmp_path)))
    given = ["--config", tmp_path / "config.yaml", "--out", tmp_path / "other", "--json"]
    ran = run("train", *given, "--steps", 1)
    assert (ran.code, ran.data["last"]["step"]) == (0, 1)
    assert ran.data["model"] == str(tmp_path / "other" / "final")
    assert read_record(tmp_path / "other" / "final").trained["steps"] == 1
    further = run("train", *given, "--steps", 2, "--resume")
    assert (further.code, further.data["last"]["step"]) == (0, 2)
    for flag in ("--text", "--start"):
        refused = run("train", *given, flag, "x")
        assert (refused.code, refused.data["error"]["type"]) == (2, "UsageError")


@pytest.mark.long
def test_a_config_of_a_system_ends_in_its_weights_and_flags_win(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SYSTEMS, "learner", "tests.training.latent.toy:LearnerSystem")
    write_texts(tmp_path, documents=12, words=120)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(system_settings(tmp_path)))
    given = ["--config", tmp_path / "config.yaml", "--json"]
    ran = run("train", *given, "--out", tmp_path / "other", "--steps", 1)
    assert (ran.code, ran.data["last"]["step"]) == (0, 1)
    final = tmp_path / "other" / "final"
    assert ran.data["model"] == str(final)
    assert read_weights_record(final).trained["steps"] == 1
    further = run("train", *given, "--out", tmp_path / "other", "--steps", 2, "--resume")
    assert (further.code, further.data["last"]["step"]) == (0, 2)
    (tmp_path / "texts.jsonl").rename(tmp_path / "moved.jsonl")
    flags = ["--text", tmp_path / "moved.jsonl", "--start", final, "--steps", 1]
    second = run("train", *given, *flags)
    assert second.code == 0
    assert read_weights_record(tmp_path / "run" / "final").trained["start"]["steps"] == 2


def test_figures_of_what_the_last_step_had_nothing_of_do_not_fail_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = Progress(2, 2, "questions", 9.0, 0.0, {"loss": 1.5, "right.earlier": float("nan")})
    _show(Output(as_json=True), tmp_path, [now])
    assert json.loads(capsys.readouterr().out)["last"]["figures"] == {"loss": 1.5}


def test_without_a_config_it_says_what_to_give(run: Run) -> None:
    ran = run("train", "--json")
    assert (ran.code, ran.data["error"]["type"]) == (2, "UsageError")
    assert "--config" in ran.data["error"]["message"]


def test_a_wrong_field_is_named_before_anything_is_loaded(run: Run, tmp_path: Path) -> None:
    given = settings(tmp_path, run={"stepz": 3})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(given))
    ran = run("train", "--config", tmp_path / "config.yaml", "--json")
    assert (ran.code, ran.data["error"]["type"]) == (2, "ConfigFileError")
    assert ran.data["error"]["message"].startswith("run.stepz in ")
    assert str(tmp_path / "config.yaml") in ran.data["error"]["message"]
    assert not (tmp_path / "run").exists()
