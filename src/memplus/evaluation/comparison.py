"""Whether the figures of a page are still those that today's code and data would give.

A benchmark's figures hold as long as its plans (every text and question), its judge and how it
judges (``JUDGING``) are the same, and a system's as long as its identity is: weights, sizes,
prompt, options, and the revision of its code. An option that there was not when a figure was made
had no other value then than its default: whoever adds one that changes answers raises the system's
revision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from memplus.errors import ConfigError
from memplus.evaluation.benchmark import Benchmark, SystemResult, plans_digest
from memplus.evaluation.benchmark_tables import names_of
from memplus.evaluation.engine.judging import JUDGING
from memplus.evaluation.engine.runfile import differing_parts
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.systems.protocol import System

__all__ = ["Parted", "differing", "parted"]

_OPTIONS = "options"


@dataclass(frozen=True, slots=True)
class Parted:
    """One thing of which a page's figures no longer hold."""

    task: str
    """With what its size changes, where the page has it in several."""
    what: str
    """"task", "plans", "judge", or a system's name."""
    differs: tuple[str, ...] = ()
    """What of a system's identity is another today, or why it, or the task, cannot be made."""


def parted(
    found: Sequence[Benchmark],
    task_of: Callable[[str, Mapping[str, Any]], BenchTask],
    system_of: Callable[[Benchmark, SystemResult], System | None],
    inputs_of: Callable[[Benchmark], Inputs],
) -> list[Parted]:
    """Of what the figures are that today's code would not give.

    Args:
        found: the benchmarks of a page.
        task_of: a task by its name and options.
        system_of: the system of a row; None where it cannot be opened here, which compares nothing
            of it.
        inputs_of: what a benchmark's plans are made of.

    Raises:
        MissingDataError: a file of a task is not there.
    """
    return [
        replace(one, task=name)
        for name, benchmark in zip(names_of(found), found, strict=True)
        for one in _parted(benchmark, task_of, system_of, inputs_of)
    ]


def _parted(
    benchmark: Benchmark,
    task_of: Callable[[str, Mapping[str, Any]], BenchTask],
    system_of: Callable[[Benchmark, SystemResult], System | None],
    inputs_of: Callable[[Benchmark], Inputs],
) -> Iterator[Parted]:
    run = benchmark.run
    try:
        task = task_of(benchmark.task, run.get(_OPTIONS, {}))
    except ConfigError as error:
        yield Parted(benchmark.task, "task", (error.message,))
        return
    try:
        if plans_digest(task.plans(inputs_of(benchmark))) != run.get("plans"):
            yield Parted(task.name, "plans")
    except ConfigError as error:  # such as too few texts; other benchmarks are looked at
        yield Parted(task.name, "plans", (error.message,))
    judge = list(differing_parts(_plain(run.get("judge", {})), _plain(asdict(task.judge))))
    if run.get("judging", 1) != JUDGING:
        judge.append("judging")
    if judge:
        yield Parted(task.name, "judge", tuple(judge))
    for result in benchmark.results:
        if result.unable:
            continue
        try:
            system = system_of(benchmark, result)
        except ConfigError as error:
            yield Parted(task.name, result.system, (error.message,))
            continue
        if system is not None and (differs := differing(result.identity, system.identity)):
            yield Parted(task.name, result.system, tuple(differs))


def differing(before: Mapping[str, Any], today: Mapping[str, Any]) -> list[str]:
    """What of a system's identity is another than before, new options left aside.

    Args:
        before: as it was recorded.
        today: as it is.
    """
    then, now = _plain(before), _plain(today)
    had = then.setdefault(_OPTIONS, {})
    new = {f"{_OPTIONS}.{name}" for name in now.get(_OPTIONS, {}) if name not in had}
    return [name for name in differing_parts(then, now) if name not in new]


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it: what was read has lists where what is made now has tuples."""
    found: dict[str, Any] = json.loads(json.dumps(value, default=list))
    return found
