from __future__ import annotations

import torch
from tests.training.tasks.fakes import CountingTexts, draw_of

from memplus.training.tasks.protocol import KeptTarget, Target
from memplus.training.tasks.registry import task_from

KEPT = KeptTarget(torch.arange(12).view(2, 6), Target(3, 5))


def test_it_writes_nothing_takes_no_text_and_asks_for_what_was_kept() -> None:
    task, texts = task_from({"task": "revisit"}), CountingTexts(KEPT)
    job = task.job(task.plan(draw_of()), texts)
    assert job.ids.equal(KEPT.ids)
    assert job.chunks.shape[:2] == (2, 0)
    assert texts.taken == 0


def test_its_right_rows_are_those_of_long_ago() -> None:
    assert task_from({"task": "revisit"}).target(9, 9, KEPT) == Target(3, 5)


def test_what_was_asked_for_may_be_replaced() -> None:
    task = task_from({"task": "revisit"})
    job = task.job(task.plan(draw_of()), CountingTexts(KEPT))
    now = task.remember(job, Target(3, 5), KEPT)
    assert now is not None
    assert now.due
    assert now.ids is KEPT.ids
    assert not KEPT.due
