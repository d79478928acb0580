"""Books: running text in order, read segment by segment, each segment written behind its reading.

A window of segments is read from every document of a batch, from an empty state on. Where it takes
several steps the state is carried from one to the next without its graph. Within a step gradients
go back through the segments where the mechanism has them.

Shapes: B documents of this process, n segments of T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from memplus.config import require
from memplus.training.engine.schedules import Schedule
from memplus.training.latent.task import LatentJob, LatentTask, Surroundings
from memplus.training.tasks.asked import IGNORED
from memplus.training.tasks.text_task import Steps

__all__ = ["Books"]


@dataclass(frozen=True, kw_only=True)
class Books(LatentTask):
    """Every token is predicted from what precedes it, or those of the last segment alone."""

    kind: ClassVar[str] = "books"

    segments: Steps = field(default_factory=lambda: Schedule.parse(4))
    """Segments of a window."""
    per_step: int = 0
    """Segments read in one step; 0: the whole window."""
    scored: Literal["all", "last"] = "all"
    """Which segments' tokens are predicted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.per_step >= 0, "per_step", self.per_step, "it must be at least 0")
        reason = "the steps before the last one would learn nothing"
        require(self.scored == "all" or not self.per_step, "per_step", self.per_step, reason)

    def open(self, around: Surroundings) -> BooksSource:
        """See ``LatentTask.open``."""
        return BooksSource(self, around)


class BooksSource:
    """The windows of a run, a stretch of the same length for every document.

    Args:
        task: sizes.
        around: texts.
    """

    def __init__(self, task: Books, around: Surroundings) -> None:
        self.task = task
        self.around = around
        self._window = torch.empty(len(around.share), 0, dtype=torch.int64)
        """[B, n T + 1] the window that is being read, with the token behind it."""
        self._done = 0
        """Segments of it that were read."""

    @property
    def _segments(self) -> int:
        return (self._window.shape[1] - 1) // self.around.segment_tokens

    def draw(self, step: int, part: int) -> LatentJob:
        """See ``Source.draw``."""
        size = self.around.segment_tokens
        fresh = self._done >= self._segments
        if fresh:
            random = self.around.random(step, part, self.task.label)
            count = self.task.segments.draw(step, random)
            self._window, self._done = self.around.take(count * size + 1), 0
        count = min(self.task.per_step or self._segments, self._segments - self._done)
        start, end = self._done * size, (self._done + count) * size
        self._done += count
        labels = self._window[:, start + 1 : end + 1].clone()
        if self.task.scored == "last":
            labels[:, :-size] = IGNORED
        return LatentJob(
            self.task.label,
            step,
            self._window[:, start:end],
            fresh,
            self.around.batch * count * size,
            labels,
        )

    def tensors(self) -> dict[str, Tensor]:
        """The window."""
        return {"window": self._window}

    def state(self) -> dict[str, Any]:
        """Where in the window the run stands."""
        return {"done": self._done}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """See ``Source.restore``."""
        self._window, self._done = tensors["window"], int(state["done"])
