"""Configs: every shipped one loads, and what is wrong in one is named before anything loads."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.training.settings import settings

import memplus
from memplus.config import MemoryConfig, SpanRetrieval
from memplus.errors import ConfigError, ConfigFileError, NotFoundError
from memplus.training.engine.config_file import config_kind
from memplus.training.tasks.questions import Questions
from memplus.training.text.run_config import load_config, parse_config

CONFIGS = Path(__file__).parents[3] / "configs"
SHIPPED = sorted(one for one in CONFIGS.rglob("stage*.yaml") if config_kind(one) is None)


def test_stages_are_shipped_for_every_kind_of_model_and_the_nano_s_recipe() -> None:
    files = [path for path in CONFIGS.rglob("*") if path.is_file()]
    names = {str(path.relative_to(CONFIGS)) for path in files if config_kind(path) is None}
    stages = {"stage1.yaml", "stage2.yaml", "stage3.yaml"}
    more = stages | {"stage4.yaml"}
    small = {f"{base}/{name}" for base in ("smollm2", "qwen-0.5b") for name in more}
    small |= {"smollm2/stage5.yaml", "smollm2/third.yaml"}
    nano = {"nano.yaml", "nano-shipped.yaml"}
    # With as many questions as another system.
    equal = {f"equal/{name}{stage}.yaml" for name in ("mplus", "half") for stage in (1, 2)}
    opening = {"opening.txt"}  # what memories of the shipped models begin with
    assert names == stages | {f"cpu/{name}" for name in stages} | small | nano | equal | opening


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_shipped_config_loads(path: Path) -> None:
    config = load_config(path)
    assert config.run.out.name == path.stem
    number = int(path.stem[-1])
    if number > 1:
        before = f"stage{number - 1}"
        assert config.model.start == str(config.run.out.parent / before / "final")
        assert load_config(path.parent / f"{before}.yaml").memory.adapters == config.memory.adapters
    # Where spans are retrieved, the retriever learns alone before it learns beside the reader.
    spans = {"stage2"} if config.memory.retrieves_spans else set()
    retrieves = {"stage3", "stage4", "stage5"} | spans
    assert config.memory.has_long_term == (path.stem in retrieves)


@pytest.mark.parametrize("base", ["smollm2", "qwen-0.5b"])
def test_the_fourth_stage_is_the_third_with_facts_without_end_and_fewer_spans(base: str) -> None:
    third, fourth = (load_config(CONFIGS / base / f"stage{number}.yaml") for number in (3, 4))
    assert fourth.memory == replace(third.memory, retrieved_tokens=256)
    (task,) = fourth.tasks
    assert isinstance(task, Questions)
    weights = {source.kind: source.weight for source in task.sources}
    assert weights["facts"] / sum(weights.values()) == pytest.approx(0.5)
    assert replace(third.tasks[0], sources=task.sources, earlier=0.5) == task


def test_the_trial_with_a_third_of_the_layers_is_the_fifth_stage_otherwise() -> None:
    fifth, third = (load_config(CONFIGS / "smollm2" / f"{n}.yaml") for n in ("stage5", "third"))
    assert third.model.start == "smollm2"
    assert third.memory == replace(fifth.memory, long_term_layers="10-19")
    assert (third.tasks, third.retriever) == (fifth.tasks, fifth.retriever)
    assert third.run == replace(fifth.run, out=third.run.out)


def test_the_fifth_stage_reads_spans_as_the_shipped_model_does() -> None:
    memory = load_config(CONFIGS / "smollm2" / "stage5.yaml").memory
    bundle = Path(memplus.__file__).parent / "assets" / "bundles" / "smollm2" / "memplus.json"
    shipped = MemoryConfig.from_dict(json.loads(bundle.read_text())["memory"])
    assert isinstance(memory.retrieval, SpanRetrieval)
    assert replace(memory.retrieval, supersedes=True) == shipped.retrieval


def test_the_large_model_has_the_released_sizes() -> None:
    memory = load_config(CONFIGS / "stage3.yaml").memory
    sizes = (memory.short_term_tokens, memory.retrieved_tokens, memory.tokens_per_write)
    assert sizes == (10240, 2560, 256)
    assert memory.chunk_tokens == 512


SPANS = {
    "retrieved_tokens": 8, "tokens_per_write": 8, "chunk_tokens": 8, "drop": "shared",
    "retrieval": {"kind": "spans", "span_rows": 4, "layer": 1},
}  # fmt: skip
QUESTIONS = {"task": "questions", "sources": [{"kind": "statements"}]}
WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown field": ("run.stepz", {"run": {"stepz": 3}}),
    "unknown table": ("extras", {"extras": {"a": 1}}),
    "unknown memory field": ("memory.rows", {"memory": {"rows": 3}}),
    "unknown adapter field": ("memory.adapters.r", {"memory": {"adapters": {"r": 3}}}),
    "missing": ("run.steps", {"run": [("out", "runs/x")]}),
    "no number": ("run.steps", {"run": {"steps": "many"}}),
    "too few steps": ("run.steps", {"run": {"steps": 0}}),
    "unknown task": ("tasks.0.task", {"tasks": [{"task": "guessing"}]}),
    "no task": ("tasks", {"tasks": []}),
    "a list for a task": ("tasks.0.task", {"tasks": [{"task": ["completion"]}]}),
    "a weight without end": ("tasks.0.weight", {"tasks": [{"task": "completion",
                                                           "weight": float("inf")}]}),
    "no heads": ("model.fresh.heads", {"model": {"fresh": {"heads": 0}, "trainable": "all"}}),
    "odd heads": ("model.fresh.hidden", {"model": {"fresh": {"hidden": 36, "heads": 4},
                                                   "trainable": "all"}}),
    "few bytes": ("model.fresh.vocabulary", {"model": {"fresh": {"vocabulary": 100},
                                                       "trainable": "all"}}),
    "a stream of nothing": ("data.stream.documents", {"data": {"texts": [], "stream": {
        "name": "x", "documents": 0}}}),
    "language": ("run.language", {"run": {"language": -1.0}}),
    "no memory at all": ("run.memory_gib", {"run": {"memory_gib": 0.0}}),
    "half a span": ("run.stored_rows", {"memory": SPANS, "run": {"stored_rows": 22},
                                        "tasks": [QUESTIONS]}),
    "rows for questions": ("tasks.0.task", {"memory": {"retrieved_tokens": 8},
                                            "run": {"stored_rows": 40}, "tasks": [QUESTIONS]}),
    "questions without bos": ("tasks.0.task", {"memory": {"bos": False}, "tasks": [QUESTIONS]}),
    "spans for a completion": ("tasks.0.task", {"memory": SPANS, "run": {"stored_rows": 40}}),
    "spans for plain text": ("tasks.1.task", {"memory": SPANS, "run": {"stored_rows": 40},
                                              "tasks": [QUESTIONS, {"task": "language"}]}),
    "no list": ("tasks", {"tasks": 3}),
    "a word": ("tasks.0", {"tasks": ["completion"]}),
    "two of a name": ("tasks.0.name", {"tasks": [{"task": "completion"}] * 2}),
    "falling range": ("tasks.0.chunks", {"tasks": [{"task": "completion", "chunks": [4, 1]}]}),
    "late schedule": ("tasks.0.chunks", {"tasks": [{"task": "completion", "chunks": {5: 1}}]}),
    "short chunk": ("tasks.0.chunk_tokens", {"tasks": [{"task": "completion", "chunk_tokens": 4}]}),
    "a share": ("tasks.0.full_pool", {"tasks": [{"task": "completion", "full_pool": 2}]}),
    "revisit alone": ("tasks", {"tasks": [{"task": "revisit"}]}),
    "nothing to revisit": ("tasks", {"tasks": [{"task": "revisit"}, {"task": "language"}]}),
    "other task's": ("tasks.0.full_pool", {"tasks": [{"task": "language", "full_pool": 0}]}),
    "instruction": ("tasks.0.instruction", {"tasks": [{"task": "completion", "instruction": "R"}]}),
    "all unscored": ("tasks.0.unscored", {"tasks": [{"task": "repetition", "unscored": 64}]}),
    "two models": ("model.backbone", {"model": {"start": "nano", "backbone": "x"}}),
    "no model": ("model.start", {"model": {"trainable": "all"}}),
    "fresh adapters": ("model.trainable", {"model": {"fresh": {}, "trainable": "adapters"}}),
    "no adapters": ("memory.adapters", {"model": {"backbone": "x", "trainable": "adapters"}}),
    "half weights": ("run.precision", {"model": {"start": "nano", "trainable": "all",
                                                 "dtype": "bfloat16"}}),
    "no texts": ("data.stream", {"data": {"texts": []}}),
    "lengths": ("data.max_tokens", {"data": {"max_tokens": 3}}),
    "store without reading": ("run.stored_rows", {"run": {"stored_rows": 99}}),
    "rows of some layers": ("memory.long_term_layers",
                            {"memory": {"drop": "shared", "long_term_layers": "1-2"}}),
    "reading without store": ("run.stored_rows", {"memory": {"retrieved_tokens": 8}}),
    "small store": ("run.stored_rows", {"memory": {"retrieved_tokens": 8},
                                        "run": {"stored_rows": 4}}),
    "sharded Muon": ("optimizer.kind", {"optimizer": {"kind": "muon"}, "run": {"sharded": True}}),
    "adapters of a whole": ("run.save", {"run": {"save": "adapters"}}),
    "unknown form": ("run.save", {"run": {"save": "half"}}),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_by_its_field(
    tmp_path: Path, case: tuple[str, dict[str, Any]]
) -> None:
    field, changes = case
    given = settings(tmp_path, **changes)
    given["run"] = dict(given["run"])
    with pytest.raises(ConfigError) as caught:
        parse_config(yaml.safe_dump(given))
    assert caught.value.fields["field"] == field


def test_a_field_given_twice_is_refused(tmp_path: Path) -> None:
    text = yaml.safe_dump(settings(tmp_path)).replace("  steps: 6", "  steps: 6\n  steps: 7")
    with pytest.raises(ConfigError, match="again") as caught:
        parse_config(text)
    assert caught.value.fields["field"] == "steps"


@pytest.mark.parametrize("text", ["model: [", "just words", ""], ids=["broken", "text", "empty"])
def test_what_is_no_config_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


def test_the_file_is_named_beside_the_field(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(settings(tmp_path, run={"stepz": 3})))
    with pytest.raises(ConfigFileError, match=r"^run\.stepz in .*mine\.yaml cannot be 3"):
        load_config(path)


def test_a_wrong_config_is_refused_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    """``transformers`` takes seconds to import; a wrong field is told without it."""
    (tmp_path / "wrong.yaml").write_text("run: {}\n")
    code = (
        "import sys; from pathlib import Path\n"
        "from memplus.training.text.run_config import load_config\n"
        "try: load_config(Path(sys.argv[1]))\n"
        "except Exception as e: print(type(e).__name__)\n"
        "print('transformers' in sys.modules, 'torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "wrong.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ConfigFileError", "False", "False"]
