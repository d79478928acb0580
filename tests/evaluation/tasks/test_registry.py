"""The benchmarks by name."""

from __future__ import annotations

import pytest

from memplus.errors import ConfigError
from memplus.evaluation.tasks.registry import TASKS, task_class


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="task cannot be 'recall'"):
        task_class("recall")
    for name in TASKS:
        assert task_class(name).name == name
