from __future__ import annotations

from pathlib import Path

import pytest

from memplus.errors import ConfigError
from memplus.training.notes.nano import RECIPE
from memplus.training.notes.recipe import Stage, load_recipe


def test_the_bundled_recipe_loads_and_ends_in_the_long_term_store() -> None:
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
        ("[memory]\nretriever_dim = 8\n[[stages]]\nname = 'a'\nsize = 3\n", "size"),
        ("[memory]\nrows = 8\n[[stages]]\nname = 'a'\n", "rows"),
        ("[memory]\n[other]\n", "other"),
    ],
)
def test_what_is_unknown_is_refused_by_name(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=name):
        load_recipe(path)


def test_groups_divide_the_documents() -> None:
    with pytest.raises(ConfigError, match="group"):
        Stage("odd", documents=4, group=3)
