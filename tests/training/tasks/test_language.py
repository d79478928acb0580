from __future__ import annotations

import pytest
from tests.training.tasks.fakes import CountingTexts, draw_of

from memplus.errors import ConfigError
from memplus.training.tasks.protocol import NOTHING, Target
from memplus.training.tasks.registry import task_from


def test_it_writes_nothing_and_depends_on_nothing() -> None:
    task, texts = task_from({"task": "language", "target_tokens": 9}), CountingTexts()
    job = task.job(task.plan(draw_of()), texts)
    assert job.ids.tolist() == [list(range(9)), list(range(1000, 1009))]
    assert job.chunks.shape[:2] == (2, 0)
    assert task.target(7, 6, None) is NOTHING
    assert NOTHING.empty
    assert task.remember(job, Target(1, 0), None) is None


def test_the_whole_memory_is_always_read() -> None:
    task = task_from({"task": "language"})
    assert all(task.plan(draw_of(step)).whole for step in range(50))


def test_a_document_must_be_as_long_as_the_target() -> None:
    task = task_from({"task": "language", "target_tokens": 9})
    assert task.plan(draw_of(longest=9)).sizes.target_tokens == 9
    with pytest.raises(ConfigError, match="8 tokens"):
        task.plan(draw_of(longest=8))
