from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from memplus.errors import ConfigError
from memplus.training.engine.same_run import content_of, describe, require_same


@dataclass(frozen=True)
class Sizes:
    steps: int = 4
    seed: int = 0
    out: str = "run"


@dataclass(frozen=True)
class Kind:
    weight: float = 1.0
    path: Path | None = None


@dataclass(frozen=True)
class Config:
    run: Sizes = Sizes()
    tasks: tuple[Kind, ...] = (Kind(), Kind(2.0))
    start: Path | None = None
    texts: tuple[str, ...] = ()
    adapter: Sizes | None = None
    options: Any = None


def refused(begun: Config, now: Config) -> str:
    """The field that is named; empty: the run may go on."""
    kept = json.loads(json.dumps(describe(begun, {})))
    try:
        require_same(kept, describe(now, {}))
    except ConfigError as error:
        return str(error.fields["field"])
    return ""


def test_a_run_goes_on_as_what_it_was_begun_as() -> None:
    config = Config(options={"b": 0.1, "a": (1, 2)})
    assert refused(config, config) == ""
    assert refused(config, replace(config, run=Sizes(steps=9, out="moved"))) == ""
    assert refused(config, replace(config, run=Sizes(seed=1))) == "run.seed"
    assert refused(config, replace(config, tasks=(Kind(), Kind(3.0)))) == "tasks.1.weight"
    assert refused(config, replace(config, tasks=(Kind(),))) == "tasks"
    assert refused(config, replace(config, adapter=Sizes())) == "adapter"
    assert refused(replace(config, adapter=Sizes()), config) == "adapter"
    assert refused(config, replace(config, options={"a": (1, 2)})) == "options"


def test_files_may_move_and_may_not_change(tmp_path: Path) -> None:
    one, moved, other = (tmp_path / name for name in ("one.txt", "moved.txt", "other.txt"))
    one.write_text("Ada keeps bees.")
    moved.write_text("Ada keeps bees.")
    other.write_text("Ada keeps hens.")
    begun = Config(tasks=(Kind(path=one),), texts=(str(tmp_path / "o*.txt"),))
    assert refused(begun, replace(begun, tasks=(Kind(path=moved),))) == ""
    assert refused(begun, replace(begun, tasks=(Kind(path=other),))) == "tasks.0.path"
    assert refused(begun, replace(begun, texts=(str(one), str(other)))) == ""
    kept = json.loads(json.dumps(describe(begun, {})))
    one.write_text("Ada keeps hens.")
    with pytest.raises(ConfigError, match="other content"):
        require_same(kept, describe(begun, {}))


def test_a_name_that_looks_like_a_pattern_is_the_file_of_that_name(tmp_path: Path) -> None:
    named = tmp_path / "texts[1].txt"
    named.write_text("Ada keeps bees.")
    begun = Config(texts=(str(named),))
    kept = json.loads(json.dumps(describe(begun, {})))
    require_same(kept, describe(begun, {}))
    named.write_text("Ada keeps hens.")
    with pytest.raises(ConfigError, match="texts"):
        require_same(kept, describe(begun, {}))


def test_a_trained_folder_is_known_by_its_record(tmp_path: Path) -> None:
    for name, steps in (("first", 10), ("moved", 10), ("other", 20)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(json.dumps({"steps": steps}))
    begun = Config(start=tmp_path / "first")
    assert refused(begun, replace(begun, start=tmp_path / "moved")) == ""
    assert refused(begun, replace(begun, start=tmp_path / "other")) == "start"
    assert refused(begun, replace(begun, start=Path("smollm2"))) == "start"


def test_fields_of_another_release_are_not_compared_and_content_is() -> None:
    config, content = Config(), content_of([b"Ada", b"bees"])
    require_same({"run.gone": 1, "run.seed": 0}, describe(config, {"texts": content}))
    require_same({}, describe(config, {}))
    assert content != content_of([b"Adab", b"ees"])
    with pytest.raises(ConfigError, match="texts"):
        require_same({"texts": content}, describe(config, {"texts": content_of([])}))
