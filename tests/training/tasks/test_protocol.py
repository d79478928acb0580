from __future__ import annotations

import torch
from tests.training.tasks.fakes import CountingTexts, draw_of

from memplus.training.tasks.protocol import NOTHING, Plan, Target, Texts
from memplus.training.tasks.registry import task_from


def plan_of(step: int = 3) -> Plan:
    return task_from({"task": "completion", "chunks": 2, "target_tokens": 7}).plan(draw_of(step))


def test_right_rows_are_those_of_the_writes_that_a_target_depends_on() -> None:
    ids = torch.tensor([[1, 2, 3], [4, 3, 2]])
    assert Target(2, 3).right(ids).tolist() == [[False, True, True], [False, True, True]]
    assert not NOTHING.right(ids).any()
    assert NOTHING.empty
    assert not Target(2, 2).empty


def test_every_document_has_a_seed_of_its_own() -> None:
    seeds = plan_of().seeds(0, 6)
    assert len(set(seeds)) == 6
    assert plan_of().seeds(0, 3) == seeds[:3]
    assert set(plan_of().seeds(1, 6)).isdisjoint(seeds)
    assert set(plan_of(4).seeds(0, 6)).isdisjoint(seeds)


def test_a_job_counts_the_tokens_of_all_documents() -> None:
    texts: Texts = CountingTexts()
    job = plan_of().task.job(plan_of(), texts)
    assert (job.plan.written, job.plan.tokens) == (20, 27)
    assert job.tokens == 27
    assert job.label == "completion"
