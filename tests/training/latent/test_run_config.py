from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.training.latent.settings import BOOKS, make_config, settings
from tests.training.latent.toy import LearnerOptions, LearnerSystem

from memplus.errors import ConfigError, ConfigFileError
from memplus.training.latent.run_config import load_system_config

ROOT = Path(__file__).parents[3]


def test_options_and_tasks_are_those_of_the_system_and_of_training(tmp_path: Path) -> None:
    config = make_config(tmp_path, optimizer={"adapter_rate": 1e-4})
    assert config.system_class is LearnerSystem
    assert config.system_options == LearnerOptions(segment=16)
    assert [task.label for task in config.tasks] == ["books", "questions"]
    assert config.optimizer.adapter_rate == 1e-4


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("system", {"system": "nobody"}),
        ("system", {"system": "bm25"}),
        ("options.heads", {"options": {"heads": 3}}),
        ("options.segment", {"options": {"segment": "many"}}),
        ("options.weights", {"options": {"weights": "folder"}}),
        ("tasks", {"tasks": []}),
        ("tasks.0.task", {"tasks": [{"task": "sleep"}]}),
        ("tasks.0.name", {"tasks": [BOOKS, BOOKS]}),
        ("run.steps", {"run": {"steps": 0}}),
        ("run.documents", {"run": {"documents": 0}}),
        ("run.precision", {"dtype": "bfloat16"}),
        ("optimizer.kind", {"optimizer": {"kind": "muon"}}),
        ("examples", {"examples": []}),
    ],
)
def test_a_wrong_field_is_named_with_its_file(
    tmp_path: Path, field: str, changes: dict[str, Any]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings(tmp_path, **changes)))
    with pytest.raises(ConfigFileError) as caught:
        load_system_config(path)
    assert caught.value.fields["field"] == field
    assert str(path) in str(caught.value)


def test_a_config_made_in_code_is_checked_as_well(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start"):
        make_config(tmp_path, options={"weights": "none"})


SHIPPED = sorted(
    path
    for path in (ROOT / "configs").glob("*/*.yaml")
    if path.read_text().find("kind: system\n") >= 0
)


def test_every_relative_has_its_stages() -> None:
    found = {str(path.relative_to(ROOT / "configs")) for path in SHIPPED}
    stages = {
        "hmt": ("stage1", "stage2", "questions", "facts"),
        "longmem": ("pieces", "questions"),
        "memlong": ("pieces", "questions"),
        "lamemo": ("stage1", "transformer_xl", "questions", "facts"),
        "equal": ("lamemo1", "lamemo2", "longmem1", "longmem2", "memlong1", "memlong2"),
    }
    assert found == {f"{name}/{stage}.yaml" for name in stages for stage in stages[name]}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_shipped_config_is_read_and_names_the_stage_before_it(path: Path) -> None:
    folder, equal = path.parent, path.parent.name == "equal"
    config = load_system_config(path)
    assert config.system == (path.stem.rstrip("12") if equal else folder.name)
    assert config.run.out == Path("runs") / folder.name / path.stem
    if config.start is not None:
        assert config.start.parts[-1] == "final"
        assert folder / f"{config.start.parts[-2]}.yaml" in SHIPPED
    assert config.data.skip == 10


LAST = {"hmt": "facts", "lamemo": "facts", "longmem": "questions", "memlong": "questions"}
"""The stage of each relative that it ends with."""


@pytest.mark.parametrize(
    "stages", [LAST, {"hmt": "questions", "lamemo": "questions"}], ids=["last", "before facts"]
)
def test_all_learn_from_the_same_questions(stages: dict[str, str]) -> None:
    """How much is told and asked at once and how far back is the system's own."""
    own = ("segments", "remembered", "earlier", "asked", "continued")
    asked = []
    for path in SHIPPED:
        if stages.get(path.parent.name) == path.stem:
            given = yaml.safe_load(path.read_text())
            (task,) = [one for one in given["tasks"] if one["task"] == "questions"]
            mix = {name: value for name, value in task.items() if name not in own}
            asked.append((mix, given["prompt"]))
    assert len(asked) == len(stages)
    assert all(one == asked[0] for one in asked)
