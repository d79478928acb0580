"""A page of benchmark tables that knows what it was made of, so that it can be told when it is old.

Behind every benchmark's tables stands an HTML comment, which nobody sees: the task's options, the
digest of its plans, and a digest of each system's identity (weights, sizes, prompt, options). The
same task of today's code and data gives the same digests, or the figures are of something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memplus.errors import ConfigError
from memplus.evaluation.benchmark import Benchmark, identity_digest, plans_digest
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.systems.protocol import System

__all__ = ["END_OF_MARK", "Parted", "mark", "marks_of", "parted"]

END_OF_MARK = " -->"
"""What a mark ends with, behind each benchmark's tables."""
_MARK = re.compile(rf"<!-- memplus bench (\{{.*\}}){END_OF_MARK}")


@dataclass(frozen=True, slots=True)
class Parted:
    """One thing of which a page's figures no longer hold."""

    task: str
    what: str
    """"plans", or a system's name."""


def mark(found: Benchmark) -> str:
    """The comment behind a benchmark's tables."""
    systems = {one.system: one.digest for one in found.results if not one.unable}
    kept = {
        "task": found.task,
        "model": found.model,
        "options": found.run["options"],
        "plans": found.run["plans"],
        "systems": systems,
    }
    return f"<!-- memplus bench {json.dumps(kept, sort_keys=True)} -->"


def marks_of(page: str) -> list[dict[str, Any]]:
    """What the comments of a page say.

    Raises:
        ConfigError: there are none.
    """
    found = [json.loads(one) for one in _MARK.findall(page)]
    if not found:
        raise ConfigError("page", value=page[:40], reason="it holds no tables of `memplus bench`")
    return found


def parted(
    marks: Sequence[Mapping[str, Any]],
    task_of: Callable[[str, Mapping[str, Any]], BenchTask],
    system_of: Callable[[str], System | None],
    inputs: Inputs,
) -> list[Parted]:
    """Of what the figures are that today's code would not give.

    Args:
        marks: of a page.
        task_of: a task by its name and options.
        system_of: a system by its name, with options; None where it cannot be opened here, which
            compares nothing of it.
        inputs: what plans are made of.

    Raises:
        MissingDataError: a file of a task is not there.
    """
    found = []
    for one in marks:
        task = task_of(one["task"], one["options"])
        if plans_digest(task.plans(inputs)) != one["plans"]:
            found.append(Parted(task.name, "plans"))
        for name, digest in one["systems"].items():
            system = system_of(name)
            if system is not None and identity_digest(system.identity) != digest:
                found.append(Parted(task.name, name))
    return found
