from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.training.tasks.fakes import CONFIG, CountingTexts, draw_of
from torch.nn.functional import cross_entropy

from memplus.config import MemoryConfig
from memplus.errors import ConfigError
from memplus.training.tasks.protocol import Sizes, Task
from memplus.training.tasks.registry import task_from


def made(**fields: Any) -> Task:
    return task_from({"task": "completion", **fields})


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"weight": 0}, "weight"),
        ({"target_tokens": 1}, "target_tokens"),
        ({"full_pool": 1.5}, "full_pool"),
        ({"gradient_writes": -1}, "gradient_writes"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**fields)
    assert caught.value.fields["field"] == name


def test_a_chunk_must_be_as_long_as_the_rows_made_of_it() -> None:
    made(chunk_tokens=[8, 10]).check(CONFIG)
    made().check(CONFIG)
    for task, memory in (
        (made(chunk_tokens=[7, 10]), CONFIG),
        (made(), MemoryConfig(short_term_tokens=24, tokens_per_write=8, chunk_tokens=6)),
    ):
        with pytest.raises(ConfigError, match="makes 8 rows"):
            task.check(memory)


def test_the_largest_pass_is_that_of_all_steps() -> None:
    table = {0: [1, 2], 50: [3, 9], 90: 4}
    task = made(chunks=table, target_tokens=[6, 20], chunk_tokens=[8, 16], gradient_writes=3)
    assert task.largest(CONFIG) == Sizes(9, 16, 20, 3)
    assert made().largest(CONFIG) == Sizes(1, 10, 64, 1)
    assert task_from({"task": "language"}).largest(CONFIG).gradient_writes == 0


def test_sizes_follow_the_steps_of_a_schedule() -> None:
    task = made(chunks={0: 1, 10: [4, 6]}, target_tokens=5)
    assert {task.plan(draw_of(step)).sizes.chunks for step in range(10)} == {1}
    assert {task.plan(draw_of(step)).sizes.chunks for step in range(10, 60)} == {4, 5, 6}


def test_the_share_of_passes_that_read_the_whole_memory() -> None:
    task = made(full_pool=0.25)
    whole = [task.plan(draw_of(step)).whole for step in range(1000)]
    assert sum(whole) / 1000 == pytest.approx(0.25, abs=0.05)


def test_the_loss_is_that_of_the_next_tokens_after_those_not_scored() -> None:
    task = task_from({"task": "repetition", "target_tokens": 6, "unscored": 3})
    job = task.job(task.plan(draw_of()), CountingTexts())
    logits = torch.randn(2, 6, 1100, generator=torch.Generator().manual_seed(0))
    losses = task.loss(logits, job)
    for lane in range(2):
        expected = cross_entropy(logits[lane, 2:-1], job.ids[lane, 3:])
        torch.testing.assert_close(losses[lane], expected)
