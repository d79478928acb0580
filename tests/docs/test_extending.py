"""The examples of docs/extending.md, run as they stand."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from tests.evaluation.conftest import BOOKS, silent
from tests.systems.conftest import SHARED
from tests.training.settings import stored, write_texts

from memplus.data.stream import Stream
from memplus.evaluation.benchmark import run_benchmark
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan as BenchPlan
from memplus.evaluation.engine.plan import Question, due_at, steps_of
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.evaluation.tasks.registry import TASKS as BENCHMARKS
from memplus.evaluation.tasks.registry import task_class
from memplus.systems.registry import SYSTEMS, make_systems
from memplus.systems.text_in_prompt import TextOptions, TextSystem
from memplus.training.tasks.protocol import Job, KeptTarget, Plan, Target, Texts
from memplus.training.tasks.registry import TASKS
from memplus.training.tasks.text_task import WritingTask
from memplus.training.text.runs import TextRun

HERE = sys.modules[__name__]
PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()


def test_the_task_of_the_page_trains_once_it_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = PAGE.partition("## Add a training task")[2].partition("\n## ")[0]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (entry,) = re.findall(r"`(tasks: .*?)`", section)
    given = (dataclass, ClassVar, Job, KeptTarget, Plan, Target, Texts, WritingTask)
    names: dict[str, Any] = {getattr(one, "__name__", "ClassVar"): one for one in given}
    names["__name__"] = __name__
    exec(code[0], names)
    first = names["First"]
    monkeypatch.setattr("memplus.training.tasks.registry.TASKS", [*TASKS, first])
    write_texts(tmp_path, words=60)
    tasks = yaml.safe_load(entry)["tasks"]
    run = TextRun(stored(tmp_path, tasks=tasks, run={"steps": 12}))
    figures: list[dict[str, float]] = []
    jobs: list[Job] = []
    draw = run.workload.draw

    def watched(step: int, part: int) -> Job:
        jobs.append(draw(step, part))
        return jobs[-1]

    monkeypatch.setattr(run.workload, "draw", watched)
    run.run(lambda now: figures.append(now.figures))
    assert all({"loss.first", "retriever"} <= one.keys() for one in figures)
    assert any("recall.3" in one for one in figures)
    for job in jobs:
        assert type(job.plan.task) is first
        assert job.ids.equal(job.chunks[:, 0, : job.ids.shape[1]])
    assert len({job.chunks.shape[1] for job in jobs}) > 2


def made(section: str, *given: Any) -> dict[str, Any]:
    """What the code of a section makes, of the names that it takes for granted."""
    text = PAGE.partition(f"## {section}")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {getattr(one, "__name__", "ClassVar"): one for one in given}
    names["__name__"] = __name__
    exec(code, names)
    return names


def test_the_system_and_the_benchmark_of_the_page_run_once_each_has_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = made("Add a system of remembering", TextSystem, TextOptions)["HalfSystem"]
    given = (dataclass, ClassVar, replace, Judge, Stream, Question, due_at, steps_of)
    given += (BenchTask, Inputs, BenchPlan)
    task = made("Add a benchmark", *given)["PasswordTask"]
    monkeypatch.setattr(HERE, "HalfSystem", half, raising=False)
    monkeypatch.setattr(HERE, "PasswordTask", task, raising=False)
    monkeypatch.setitem(SYSTEMS, "half", f"{__name__}:HalfSystem")
    monkeypatch.setitem(BENCHMARKS, "password", f"{__name__}:PasswordTask")
    systems = make_systems(["half:too_long=refuse", "mplus", "nothing"], SHARED)
    told = systems[0].open(0)
    told.write("First. " + "b" * 40 + " Last.", "a")
    before = told._fitted("Who?", 8).before
    assert before.endswith("Last.")
    assert len(before) == told.tokens // 2
    inputs = Inputs(tmp_path, SHARED.reference, 6, lambda: BOOKS)
    found = run_benchmark(
        systems, task_class("password")(lengths=(0, 60)), inputs, tmp_path / "out", silent
    )
    assert found.errors == 0
    lengths = [[one.wanted for one in result.figures] for result in found.results]
    assert lengths == [[0, 60], [0, 60], [None]]
    assert found.results[0].system == "half:too_long=refuse"
