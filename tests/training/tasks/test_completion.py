from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.training.tasks.fakes import CountingTexts, draw_of

from memplus.errors import ConfigError
from memplus.training.tasks.completion import Completion
from memplus.training.tasks.protocol import KeptTarget, Target
from memplus.training.tasks.registry import task_from


def completion(**fields: object) -> Completion:
    made = task_from({"task": "completion", **fields})
    assert isinstance(made, Completion)
    return made


def test_the_target_goes_on_where_the_chunks_end() -> None:
    task, texts = completion(chunks=2, target_tokens=7), CountingTexts()
    job = task.job(task.plan(draw_of()), texts)
    assert job.chunks[0].tolist() == [list(range(10)), list(range(10, 20))]
    assert job.ids.tolist() == [list(range(20, 27)), list(range(1020, 1027))]
    assert (job.unscored, texts.taken) == (0, 27)


def test_fewer_chunks_where_documents_are_short() -> None:
    task = completion(chunks=9, target_tokens=8)
    assert task.plan(draw_of(longest=39)).sizes.chunks == 3
    with pytest.raises(ConfigError, match="17 tokens"):
        task.plan(draw_of(longest=17))


def test_the_right_rows_are_those_of_all_its_chunks() -> None:
    assert completion().target(4, 6, None) == Target(4, 6)


def test_its_target_is_kept_once_the_last_one_has_been_asked_for() -> None:
    task = completion()
    job = task.job(task.plan(draw_of()), CountingTexts())
    plans = [replace(job.plan, renewed=renewed) for renewed in (False, True)]
    old = KeptTarget(torch.zeros(2, 3), Target(1, 1))
    first = task.remember(replace(job, plan=plans[0]), Target(2, 2), None)
    assert first is not None
    assert (first.target, first.due) == (Target(2, 2), False)
    assert first.ids.equal(job.ids)
    for plan in plans:
        assert task.remember(replace(job, plan=plan), Target(2, 2), old) is old
    due = replace(old, due=True)
    assert task.remember(replace(job, plan=plans[0]), Target(2, 2), due) is due
    renewed = task.remember(replace(job, plan=plans[1]), Target(2, 2), due)
    assert renewed is not None
    assert renewed.ids.equal(job.ids)
