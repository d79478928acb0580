"""Every task that a config of a system can name. A new one is a file of its own and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memplus.errors import ConfigError
from memplus.fields import WHOLE, checked
from memplus.training.latent.books import Books
from memplus.training.latent.questions import LatentQuestions
from memplus.training.latent.task import LatentTask

__all__ = ["TASKS", "task_from"]

TASKS: dict[str, type[LatentTask]] = {one.kind: one for one in (Books, LatentQuestions)}
"""Kind -> task."""


def task_from(given: Any) -> LatentTask:
    """The task of an entry of a config: ``{task: KIND, ...}`` with the fields of that kind.

    Raises:
        ConfigError: there is no such task, or a field is not one of its own.
    """
    if isinstance(given, LatentTask):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(WHOLE, value=given, reason="it must be fields and values, `task` first")
    fields = dict(given)
    kind = fields.pop("task", None)
    if kind not in TASKS:
        raise ConfigError("task", value=kind, reason=f"the tasks are {', '.join(TASKS)}")
    return checked(TASKS[str(kind)], fields)
