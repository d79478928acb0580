"""What one pass over new documents does: which task, how many chunks, how long.

Drawn from the run's seed and the step's number alone, so that every process and every resumed run
draws the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from memplus.errors import ConfigError
from memplus.training.text.run_config import TaskConfig, TrainingConfig

__all__ = ["Plan", "draw_plan"]


@dataclass(frozen=True)
class Plan:
    """One pass over all documents of a step, or over the next ones where steps accumulate."""

    task: TaskConfig
    step: int
    """Updates done before it."""
    part: int
    """Which of the passes of that step."""
    chunks: int
    """Written, each of ``chunk_tokens``."""
    chunk_tokens: int
    target_tokens: int
    whole: bool
    """Whether the whole memory is read, or the new rows alone."""
    query_tokens: int
    """First tokens of the target that ask the retriever."""
    renewed: bool
    """Whether its target is kept to be revisited, if the last one has been."""

    @property
    def written(self) -> int:
        """Tokens written."""
        return self.chunks * self.chunk_tokens

    @property
    def tokens(self) -> int:
        """Tokens that the models sees of each document."""
        return self.written + self.target_tokens

    @property
    def taken(self) -> int:
        """Tokens that it takes off each document."""
        if self.task.task == "revisit":
            return 0
        return self.written if self.task.task == "repetition" else self.tokens

    def seeds(self, seed: int, documents: int) -> list[int]:
        """A seed per document, for what its memory drops."""
        stem = f"{seed}/{self.step}/{self.part}/document"
        return [Random(f"{stem} {index}").getrandbits(62) for index in range(documents)]


def draw_plan(
    config: TrainingConfig, step: int, part: int, longest: int, *, revisits: bool
) -> Plan:
    """Draw the task and its sizes.

    Args:
        config: shares and schedules.
        step: updates done.
        part: which pass of the step.
        longest: tokens of the longest document; fewer chunks are written where it is too short.
        revisits: whether there is something to revisit.

    Raises:
        ConfigError: no document is long enough even for one chunk and the target.
    """
    random = Random(f"{config.run.seed}/{step}/{part}")
    tasks = [task for task in config.tasks if revisits or task.task != "revisit"]
    task = random.choices(tasks, [one.weight for one in tasks])[0]
    writes = task.task in ("completion", "repetition")
    chunk_tokens = task.chunk_tokens or config.memory.chunk_tokens
    size = chunk_tokens if isinstance(chunk_tokens, int) else chunk_tokens.draw(step, random)
    target = task.target_tokens.draw(step, random)
    chunks = task.chunks.draw(step, random) if writes else 0
    room = longest - (target if task.task == "completion" else 0)
    if writes:
        chunks = min(chunks, room // size)
    if room < 0 or (writes and chunks < 1) or (not writes and target > longest):
        reason = f"the longest document has {longest} tokens"
        raise ConfigError("tasks.target_tokens", value=target, reason=reason)
    if task.task == "repetition":
        target = min(target, chunks * size)
    query = random.randint(1, target) if config.retriever.random_query else target
    return Plan(
        task, step, part, chunks, size, target,
        whole=random.random() < task.full_pool,
        query_tokens=query,
        renewed=random.random() < config.run.revisit_renewal,
    )  # fmt: skip
