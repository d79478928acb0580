"""The benchmarks there are, by name; each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from memplus.errors import ConfigError

if TYPE_CHECKING:
    from memplus.evaluation.tasks.bench_task import BenchTask

__all__ = ["TASKS", "task_class"]

TASKS: dict[str, str] = {
    "retention": "memplus.evaluation.tasks.retention_task:RetentionTask",
    "recognition": "memplus.evaluation.tasks.recognition:RecognitionTask",
    "perplexity": "memplus.evaluation.tasks.perplexity_task:PerplexityTask",
    "sort": "memplus.evaluation.tasks.sort:SortTask",
    "babilong": "memplus.evaluation.tasks.babilong:BabilongTask",
    "conflicts": "memplus.evaluation.tasks.conflicts:ConflictsTask",
    "locomo": "memplus.evaluation.tasks.locomo:LocomoTask",
    "longmemeval": "memplus.evaluation.tasks.longmemeval:LongMemEvalTask",
    "ruler": "memplus.evaluation.tasks.ruler:RulerTask",
}
"""Name -> module and class."""


def task_class(name: str) -> type[BenchTask]:
    """The class of a registered task.

    Raises:
        ConfigError: there is no such task.
    """
    if name not in TASKS:
        raise ConfigError("task", value=name, reason=f"there are {', '.join(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    found: type[BenchTask] = getattr(import_module(module), attribute)
    return found
