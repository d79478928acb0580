"""Every task that a config can name. A new one is a file of its own and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memplus.errors import ConfigError
from memplus.fields import WHOLE, checked
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
    if not isinstance(given, Mapping):
        raise ConfigError(WHOLE, value=given, reason="it must be fields and values, `task` first")
    fields = dict(given)
    kind = fields.pop("task", None)
    if kind not in known:
        reason = f"the tasks are {', '.join(known)}"
        raise ConfigError("task", value=kind, reason=reason)
    return checked(known[kind], fields)
