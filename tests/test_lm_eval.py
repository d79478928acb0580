"""The harness itself, over a tiny random model and tasks that lie on this disk."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes import make_mplus
from tests.systems.conftest import SMALL
from tests.warm import python

from memplus import lm_eval
from memplus.errors import ConfigError, LibraryMissingError

installed = pytest.mark.skipif(
    find_spec("lm_eval") is None,
    reason="lm-evaluation-harness is not installed (pip install 'memplus[lm-eval]')",
)

DOCUMENTS = [
    {"told": "The gate is red.", "asked": "What is red?", "right": "the gate", "wrong": "me"},
    {"told": "The keeper sleeps.", "asked": "Who sleeps?", "right": "the keeper", "wrong": "it"},
]
CONTEXT = "{{told}}\n\nQuestion: {{asked}}"
TASKS: dict[str, dict[str, Any]] = {
    "generated": {
        "output_type": "generate_until",
        "doc_to_text": CONTEXT,
        "doc_to_target": "{{right}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
    "chosen": {
        "output_type": "multiple_choice",
        "doc_to_text": f"{CONTEXT}\nAnswer:",
        "doc_to_choice": ["{{right}}", "{{wrong}}"],
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}],
    },
    "predicted": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{told}} {{asked}}",
        "metric_list": [{"metric": "byte_perplexity"}],
    },
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The harness's command line with our model in it, kept from any network."""
    own = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    command = [*python(), "-m", "memplus.lm_eval", "run", "--model", "memplus", *arguments]
    environment = {**os.environ, **own}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and the tasks."""
    place = tmp_path_factory.mktemp("harness")
    make_mplus(config=SMALL).save_pretrained(place / "model")
    lines = "".join(json.dumps(one) + "\n" for one in DOCUMENTS)
    (place / "documents.jsonl").write_text(lines)
    (place / "tasks").mkdir()
    for name, task in TASKS.items():
        where = {"data_files": {"test": str(place / "documents.jsonl")}}
        whole = {"task": name, "dataset_path": "json", "dataset_kwargs": where, **task}
        text = yaml.safe_dump({**whole, "test_split": "test"})
        (place / "tasks" / f"{name}.yaml").write_text(text)
    return place


@pytest.mark.long
@installed
def test_the_harness_runs_all_three_kinds_of_task(folder: Path) -> None:
    arguments = f"system=memoryllm,model={folder / 'model'},marker=\\n\\nQuestion:"
    tasks = ["--tasks", ",".join(TASKS), "--include_path", str(folder / "tasks")]
    out = folder / "out"
    done = run(folder, "--model_args", arguments, *tasks, "--output_path", str(out))
    assert done.returncode == 0, done.stderr
    (found,) = out.rglob("results_*.json")
    results = json.loads(found.read_text())
    figures = results["results"]
    assert figures.keys() == TASKS.keys()
    assert figures["predicted"]["byte_perplexity,none"] > 1
    assert 0 <= figures["chosen"]["acc,none"] <= 1
    config = results["config"]
    assert config["system"] == "memoryllm"
    assert config["cut"] == {"marker": "\n\nQuestion:", "last_tokens": None, "keep_marker": True}
    assert config["cost"]["answers"] == 2 + 4 + 2
    assert config["cost"]["tokens"] > 0
    assert config["system_device"] == "cpu"


@installed
@pytest.mark.slow
def test_what_memplus_refuses_is_said_in_its_words(folder: Path) -> None:
    arguments = ["system=no_such_one", f"model={folder / 'model'}", "last_tokens=8"]
    tasks = ["--tasks", "chosen", "--include_path", str(folder / "tasks")]
    done = run(folder, "--model_args", ",".join(arguments), *tasks)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "there are mplus, memoryllm" in done.stderr


@installed
def test_it_is_made_known_once_and_refuses_arguments_that_it_does_not_know() -> None:
    kind = lm_eval.register()
    assert lm_eval.register() is kind
    with pytest.raises(ConfigError, match="markers"):
        kind(markers="a")


def test_every_argument_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text()
    section = page.partition("## Tasks of lm-evaluation-harness")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert told == {one.name for one in fields(lm_eval.Arguments)}


def test_without_the_harness_it_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval, "find_spec", lambda name: None)
    lm_eval.register.cache_clear()
    with pytest.raises(LibraryMissingError, match=r"memplus\[lm-eval\]"):
        lm_eval.register()


@pytest.mark.parametrize(("given", "batch"), [(None, 8), ("auto", 8), ("3", 3), (2, 2)])
def test_the_batch_is_named_as_the_harness_names_it(given: int | str | None, batch: int) -> None:
    assert lm_eval._batch(given) == batch


def test_a_batch_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        lm_eval._batch("auto:4")


def test_the_first_gpu_is_the_harness_default_and_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert lm_eval._device("cuda:0") == lm_eval._device(None) == "cpu"
    assert lm_eval._device("cuda:1") == "cuda:1"
