"""Benchmarks from Python, on a tiny model that is loaded already."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL

from memplus.bench import make_inputs, make_task, run_bench, servable
from memplus.errors import ConfigError, SystemWeightsError
from memplus.evaluation.benchmark_tables import markdown
from memplus.evaluation.tasks.retention_task import RetentionTask
from memplus.systems.shared import Shared

TASK = RetentionTask(lengths=(0,), items=1, kinds=("notes",))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    books = tmp_path / "data" / "booksort" / "books"
    books.mkdir(parents=True)
    text = "The gate is red. It rained. Nobody came. " * 40
    (books / "one.txt.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path / "data"


def test_a_benchmark_is_run_on_a_loaded_model_and_resumed(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out"
    found = run_bench(TASK, ["mplus", "nothing"], SHARED.mplus, data=data, out=out)
    assert [one.system for one in found.results] == ["mplus", "nothing"]
    assert found.errors == 0
    assert (out / "table.md").read_text() == markdown([found])
    again = run_bench(TASK, ["mplus", "nothing"], SHARED.mplus, data=data, out=out)
    assert again == found
    assert json.loads((out / "summary.json").read_text())["run"]["options"]["items"] == 1


def test_a_task_is_its_small_size_or_its_defaults_changed_by_what_is_given() -> None:
    small = make_task("retention", {"kinds": "notes,statements"}, small=True, items=3, seeds=None)
    assert isinstance(small, RetentionTask)
    assert small == RetentionTask(lengths=(0, 4000), items=3, kinds=("notes", "statements"))
    assert make_task("retention", {}, small=False) == RetentionTask()
    with pytest.raises(ConfigError, match="no such option"):
        make_task("retention", {}, small=False, colour="red")
    with pytest.raises(ConfigError, match="task cannot be 'recall'"):
        run_bench("recall")


def test_prose_is_the_books_of_the_data_or_pythons_documentation(
    tmp_path: Path, data: Path
) -> None:
    assert "The gate is red" in make_inputs(SHARED, data, None).prose[0]
    assert "statement" in make_inputs(SHARED, tmp_path, None).prose[0]
    (tmp_path / "own.txt").write_text("My own.")
    assert make_inputs(SHARED, data, [tmp_path / "own.txt"]).prose == ["My own."]


def test_a_system_that_the_model_cannot_serve_is_left_out_with_the_reason() -> None:
    names, reasons = servable(SHARED)
    assert {"mplus", "bm25", "nothing"} <= set(names)
    # Its weights are of another base than this tiny model.
    assert "weights" in reasons["ret_llm"]
    assert not set(names) & set(reasons)
    # It could, but is not among "all".
    assert "name it" in reasons["in_weights"]


@pytest.mark.parametrize("name", ["mistral-window", "llama-dynamic"])
def test_a_system_that_cannot_read_such_layers_is_left_out(name: str) -> None:
    longer = {"max_position_embeddings": 2048}
    names, reasons = servable(Shared(lambda: make_mplus(name, config=SMALL, changes=longer)))
    assert {"mplus", "bm25"} <= set(names)
    assert "lamemo" in reasons


def test_weights_that_are_missing_are_missed_before_anything_is_asked(
    tmp_path: Path, data: Path
) -> None:
    with pytest.raises(SystemWeightsError):
        run_bench(TASK, ["nothing", "ret_llm"], SHARED.mplus, data=data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
