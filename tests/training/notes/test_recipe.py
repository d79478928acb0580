from __future__ import annotations

import json
from pathlib import Path

import pytest

from memplus.config import MemoryConfig
from memplus.errors import ConfigError, ConfigFileError
from memplus.training.engine.common_config import Architecture
from memplus.training.notes.nano import RECIPE
from memplus.training.notes.recipe import Optimizing, Stage, load_recipe

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_bundled_recipe_loads_and_ends_in_the_long_term_memory() -> None:
    recipe = load_recipe(RECIPE)
    assert recipe.stages[0].chunks * recipe.stages[0].group == 1
    assert recipe.stages[-1].earlier > 0
    assert recipe.stages[-1].advance > 1
    for stage in recipe.stages:
        if stage.retrieves:
            written = stage.group * stage.chunks * recipe.memory.tokens_per_write
            assert written > recipe.memory.short_term_tokens


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("memory: {}\nstages: [{name: a, size: 3}]", "stages.0.size"),
        ("memory: {}\nstages: [{name: a}, {name: b, documents: 4, group: 3}]", "stages.1.group"),
        ("memory: {}\nstages: [{chunks: 2}]", "stages.0.name"),
        ("memory: {rows: 8}\nstages: [{name: a}]", "memory.rows"),
        ("memory: {}\nother: {}\nstages: [{name: a}]", "other"),
        ("memory: {}\noptimizing: {precision: fp8}\nstages: [{name: a}]", "optimizing.precision"),
        ("memory: {}\nstages: []", "stages"),
        ("memory: {}", "stages"),
    ],
)
def test_what_is_unknown_is_refused_by_name(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigFileError, match=r"recipe\.yaml") as caught:
        load_recipe(path)
    assert caught.value.fields["field"] == name


def test_the_recipe_holds_the_numbers_that_were_run_to_their_end() -> None:
    """Spelled out where a slip of the file would change the next weights without a word."""
    recipe = load_recipe(RECIPE)
    assert recipe.memory == MemoryConfig(256, 64, 64, 64, 64)
    assert recipe.architecture == Architecture(4, 128, 4, 384, 2048)
    assert recipe.optimizing == Optimizing(
        warmup=150, cooldown=0.4, scored=48, tail=0.5, easier=0.12, known_subject=0.3,
        other_names=0.5, precision="fp32",
    )  # fmt: skip
    names = ["one chunk", "two chunks", "four chunks", "retrieval", "long-term memory"]
    assert [stage.name for stage in recipe.stages] == [*names, "near namesakes"]
    assert [stage.advance for stage in recipe.stages] == [0.82, 0.74, 0.74, 0.7, 0.9, 2.0]
    assert [stage.documents for stage in recipe.stages] == [32] * 6
    assert [stage.crowded for stage in recipe.stages] == [0.1, 0.2, 0.2, 0.25, 0.3, 0.25]
    assert [stage.group for stage in recipe.stages] == [1, 1, 2, 8, 8, 8]
    assert recipe.memory.rows == "int8"
    assert [stage.earlier for stage in recipe.stages] == [0, 0, 0, 0, 12, 24]
    assert recipe.stages[-1] == Stage(
        "near namesakes", documents=32, chunks=2, group=8, questions=36, notes=(0, 0, 1, 1, 2, 3),
        paragraphs=0.2, crowded=0.25, plain=0.03, corrected=0.3, namesakes=0.2, abstain=0.16,
        abstain_weight=1.0, retrieves=True, far=0.6, forced=0.05, earlier=24, repeat=0.0,
        language=0.5, advance=2.0,
    )  # fmt: skip


def test_the_recipe_among_the_configs_is_the_bundled_one() -> None:
    link = CONFIGS / "nano.yaml"
    assert link.resolve() == RECIPE.resolve()


@pytest.mark.parametrize("path", [RECIPE, CONFIGS / "nano-shipped.yaml"], ids=lambda p: p.name)
def test_the_recipes_have_the_sizes_of_the_shipped_weights(path: Path) -> None:
    recipe = load_recipe(path)
    weights = json.loads((RECIPE.parent / "config.json").read_text())
    sizes = recipe.architecture
    assert sizes.layers == weights["num_hidden_layers"]
    assert sizes.hidden == weights["hidden_size"]
    assert sizes.heads == weights["num_attention_heads"]
    assert sizes.feed_forward == weights["intermediate_size"]
    assert sizes.vocabulary == weights["vocab_size"]
    memory = json.loads((RECIPE.parent / "memplus.json").read_text())["memory"]
    assert recipe.memory == MemoryConfig.from_dict(memory)


def test_groups_divide_the_documents() -> None:
    with pytest.raises(ConfigError, match="group"):
        Stage("odd", documents=4, group=3)
