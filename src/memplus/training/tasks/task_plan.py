"""Which task a pass carries out, by the shares of the config.

Drawn from the run's seed and the step's number alone, so that every process and every resumed run
draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from memplus.config import MemoryConfig
from memplus.training.tasks.protocol import Draw, Plan, Task

__all__ = ["Planner"]


@dataclass(frozen=True)
class Planner:
    """Draws the passes of a run."""

    tasks: Sequence[Task]
    memory: MemoryConfig
    seed: int
    random_query: bool = True
    """Whether a number of first tokens, drawn each time, asks the retriever, or all of them."""
    renewal: float = 0.2
    """Chance that a pass may replace a kept target that has been asked for."""

    def draw(self, step: int, part: int, longest: int, *, kept: bool) -> Plan:
        """Draw a task and the sizes of its pass.

        Args:
            step: updates done.
            part: which pass of the step.
            longest: tokens of the longest document; fewer chunks are written where it is short.
            kept: whether there is a target to ask for again.

        Raises:
            ConfigError: no document is long enough even for one chunk and the target.
        """
        random = Random(f"{self.seed}/{step}/{part}")
        tasks = [task for task in self.tasks if kept or not task.needs_kept]
        task = random.choices(tasks, [one.weight for one in tasks])[0]
        rules = (self.memory, self.random_query, self.renewal)
        return task.plan(Draw(step, part, random, longest, *rules))
