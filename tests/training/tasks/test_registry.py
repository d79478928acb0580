"""Entries of a config become tasks; a task of one's own is a class and a line of the registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
import torch
from tests.training.settings import make_config, write_texts
from tests.training.tasks.fakes import CountingTexts, draw_of
from torch import Tensor
from torch.nn.functional import cross_entropy

from memplus.errors import ConfigError
from memplus.training.tasks.protocol import Job, Plan, Texts
from memplus.training.tasks.registry import TASKS, task_from
from memplus.training.tasks.text_task import WritingTask
from memplus.training.text.runs import TextRun


def test_every_task_is_made_from_its_name_and_is_a_task_already() -> None:
    kinds = {"completion", "repetition", "revisit", "language", "questions"}
    assert {one.kind for one in TASKS} == kinds
    for one in TASKS:
        needed = {"sources": [{"kind": "statements"}]} if one.kind == "questions" else {}
        entry = {"task": one.kind} | needed
        task = task_from(entry | {"name": "mine", "weight": 2})
        assert type(task) is one
        assert (task.label, task.weight) == ("mine", 2.0)
        assert task_from(task) is task
        assert task_from(entry).label == one.kind


@pytest.mark.parametrize(
    ("entry", "field", "reason"),
    [
        ({"task": "guessing"}, "task", "completion, repetition, revisit, language"),
        ({"weight": 1}, "task", "completion, repetition, revisit, language"),
        ("completion", "the whole", "fields and values"),
        ({"task": "revisit", "chunks": 2}, "chunks", "no such field"),
        ({"task": "language", "full_pool": 0}, "full_pool", "no such field"),
        ({"task": "completion", "instruction": "Go"}, "instruction", "no such field"),
        ({"task": "completion", "chunks": "many"}, "chunks", "whole number"),
    ],
)
def test_an_entry_is_checked_by_the_tasks_own_type(entry: Any, field: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        task_from(entry)
    assert caught.value.fields["field"] == field


@dataclass(frozen=True)
class _Labelled(Job):
    scored: Tensor | None = None


@dataclass(frozen=True)
class Facts(WritingTask):
    """Writes statements of its own, and asks for their last words alone."""

    kind: ClassVar[str] = "facts"
    words: tuple[str, ...] = ("sea", "gate")

    def job(self, plan: Plan, texts: Texts) -> Job:
        size, told = plan.sizes.chunk_tokens, []
        for index in texts.share:
            random = Random(f"{texts.seed}/{plan.step}/{plan.part}/facts {index}")
            told.append((texts.encode(f"the lantern is {random.choice(self.words)} ") * 9)[:size])
        ids = torch.tensor(told, device=texts.device)
        return _Labelled(plan, ids[:, None], ids, scored=torch.arange(size) % 3 == 0)

    def loss(self, logits: Tensor, job: Job) -> Tensor:
        assert isinstance(job, _Labelled)
        assert job.scored is not None
        each = cross_entropy(logits[:, :-1].transpose(1, 2), job.ids[:, 1:], reduction="none")
        return each[:, job.scored[1:]].mean(dim=1)


def test_a_task_with_texts_and_a_loss_of_its_own_trains_after_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="the tasks are"):
        task_from({"task": "facts"})
    monkeypatch.setattr("memplus.training.tasks.registry.TASKS", [*TASKS, Facts])
    write_texts(tmp_path)
    tasks = [{"task": "facts", "words": ["sea", "wind"], "chunks": 1, "target_tokens": 10}]
    config = make_config(tmp_path, tasks=tasks, run={"steps": 4})
    figures: list[dict[str, float]] = []
    TextRun(config).run(lambda now: figures.append(now.figures))
    assert all("loss.facts" in one for one in figures)
    assert figures[-1]["loss"] < figures[0]["loss"]
    with pytest.raises(ConfigError, match="no such field"):
        make_config(tmp_path, tasks=[{"task": "facts", "word": "sea"}])


def test_a_task_draws_the_same_texts_whatever_the_process() -> None:
    task = Facts()
    plan = task.plan(draw_of())
    both, second = CountingTexts(), CountingTexts()
    second.share = range(1, 2)
    assert task.job(plan, both).ids[1:].equal(task.job(plan, second).ids)
