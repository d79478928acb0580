"""The examples of docs/extending.md, run as they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from tests.training.settings import stored, write_texts

from memplus.training.tasks.protocol import Job, KeptTarget, Plan, Target, Texts
from memplus.training.tasks.registry import TASKS
from memplus.training.tasks.text_task import WritingTask
from memplus.training.text.runs import TextRun

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
