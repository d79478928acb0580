from __future__ import annotations

import pytest

from memplus.errors import ConfigError
from memplus.training.latent.books import Books
from memplus.training.latent.registry import TASKS, task_from


def test_tasks_are_made_from_their_fields() -> None:
    task = task_from({"task": "books", "segments": [2, 4], "scored": "last", "weight": 2})
    assert isinstance(task, Books)
    assert (task.segments.highest, task.scored, task.weight) == (4, "last", 2)
    assert task_from(task) is task
    assert set(TASKS) == {"books", "questions"}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"task": "stories"}, "task"),
        ({}, "task"),
        ("books", "the whole"),
        ({"task": "books", "asked": 3}, "asked"),
        ({"task": "books", "segments": 0}, "segments"),
    ],
)
def test_what_is_no_task_is_named(given: object, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        task_from(given)
    assert str(caught.value.fields["field"]).split(".")[0] == field
