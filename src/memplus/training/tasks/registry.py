"""Every task that a config can name. A new one is a file of its own and a line here."""

from __future__ import annotations

from typing import Any

from memplus.training.engine.config_file import entry
from memplus.training.tasks.completion import Completion
from memplus.training.tasks.language import Language
from memplus.training.tasks.protocol import Task
from memplus.training.tasks.questions import Questions
from memplus.training.tasks.repetition import Repetition
from memplus.training.tasks.revisit import Revisit

__all__ = ["TASKS", "task_from"]

TASKS: list[type[Task]] = [
    Completion,
    Repetition,
    Revisit,
    Language,
    Questions,
]


def task_from(given: Any) -> Task:
    """The task of an entry of a config: ``{task: KIND, ...}`` with the fields of that kind.

    Raises:
        ConfigError: there is no such task, or a field is not one of its own.
    """
    for one in TASKS:
        if isinstance(given, one):
            return given
    known = {one.kind: one for one in TASKS}
    return entry(given, "task", known.__getitem__, known)
