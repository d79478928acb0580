"""Whether the figures of a page are still those that today's code and data would give.

A benchmark's figures hold as long as its plans (every text and question) and its judge are the
same, and a system's as long as its identity is: weights, sizes, prompt, options, and the revision
of its code. An option that there was not when a figure was made had no other value then than its
default: whoever adds one that changes answers raises the system's revision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from memplus.evaluation.benchmark import Benchmark, plans_digest
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.systems.protocol import System

__all__ = ["Parted", "differing", "parted"]

_OPTIONS = "options"


@dataclass(frozen=True, slots=True)
class Parted:
    """One thing of which a page's figures no longer hold."""

    task: str
    what: str
    """"plans", "judge", or a system's name."""
    differs: tuple[str, ...] = ()
    """What of a system's identity is another today."""


def parted(
    found: Iterable[Benchmark],
    task_of: Callable[[str, Mapping[str, Any]], BenchTask],
    system_of: Callable[[str], System | None],
    inputs: Inputs,
) -> list[Parted]:
    """Of what the figures are that today's code would not give.

    Args:
        found: the benchmarks of a page.
        task_of: a task by its name and options.
        system_of: a system by its name, with options; None where it cannot be opened here, which
            compares nothing of it.
        inputs: what plans are made of.

    Raises:
        MissingDataError: a file of a task is not there.
    """
    return [one for benchmark in found for one in _parted(benchmark, task_of, system_of, inputs)]


def _parted(
    benchmark: Benchmark,
    task_of: Callable[[str, Mapping[str, Any]], BenchTask],
    system_of: Callable[[str], System | None],
    inputs: Inputs,
) -> Iterator[Parted]:
    task = task_of(benchmark.task, benchmark.run[_OPTIONS])
    if plans_digest(task.plans(inputs)) != benchmark.run["plans"]:
        yield Parted(task.name, "plans")
    if _plain(asdict(task.judge)) != _plain(benchmark.run["judge"]):
        yield Parted(task.name, "judge")
    for result in benchmark.results:
        system = None if result.unable else system_of(result.system)
        if system is not None and (differs := differing(result.identity, system.identity)):
            yield Parted(task.name, result.system, tuple(differs))


def differing(before: Mapping[str, Any], today: Mapping[str, Any]) -> list[str]:
    """What of a system's identity is another than before, new options left aside.

    Args:
        before: as it was recorded.
        today: as it is.
    """
    then, now = _plain(before), _plain(today)
    had, has = then.pop(_OPTIONS, {}), now.pop(_OPTIONS, {})
    found = [name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)]
    return found + [f"{_OPTIONS}.{name}" for name in had if had[name] != has.get(name)]


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it: what was read has lists where what is made now has tuples."""
    found: dict[str, Any] = json.loads(json.dumps(value, default=list))
    return found
