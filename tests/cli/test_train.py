from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memplus.model import MPlus

RECIPE = """
[memory]
short_term_tokens = 48
retrieved_tokens = 8
tokens_per_write = 32
chunk_tokens = 32
retriever_dim = 8

[architecture]
layers = 1
hidden = 32
heads = 2
feed_forward = 48
vocabulary = 1200
positions = 512

[optimizing]
warmup = 1
cooldown = 1
scored = 4

[[stages]]
name = "one"
documents = 4
questions = 2
notes = [1]
advance = 2.0
"""
SENTENCES = "The road went down to the sea. Nobody had walked there since the spring! " * 40
Run = Callable[..., Any]


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    (tmp_path / "book.txt").write_text(SENTENCES)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    recipe = tmp_path / "recipe.toml"
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
    assert ran.code != 0
    assert str(tmp_path / "run" / "model") in ran.data["error"]["message"]


def test_an_absent_text_and_a_wrong_recipe_are_named(
    run: Run, tmp_path: Path, arguments: list[object]
) -> None:
    ran = run("train", "nano", tmp_path / "none.txt", *arguments[1:])
    assert (ran.code, ran.data["error"]["type"]) == (1, "StorageError")
    (tmp_path / "recipe.toml").write_text(RECIPE + "\n[extras]\n")
    ran = run("train", "nano", *arguments)
    assert (ran.code, ran.data["error"]["type"]) == (2, "ConfigError")
