"""Every task that a config of a system can name. A new one is a file of its own and a line here."""

from __future__ import annotations

from typing import Any

from memplus.training.engine.config_file import entry
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
    return entry(given, "task", TASKS.__getitem__, TASKS)
