"""What the loop trains: jobs drawn by step, and a module that turns a job into a loss.

The loop knows steps, optimizers and checkpoints; a workload knows what is learned. Everything of
a job runs inside one call of ``module``, since whoever divides weights among processes (FSDP)
gathers them there.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

__all__ = ["Figures", "Job", "Workload"]

Figures = dict[str, Tensor]
"""Scalars by name, without a graph."""


class Job(Protocol):
    """One pass over new data."""

    @property
    def label(self) -> str:
        """Which task or stage, for people."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens read and written, in all processes."""
        ...


class Workload(Protocol):
    """What is learned."""

    @property
    def module(self) -> nn.Module:
        """Called with a job: the loss [] and its figures."""
        ...

    def draw(self, step: int, part: int) -> Any:
        """The job of a step; a step of several passes draws several."""
        ...

    def advance(self, job: Any, figures: dict[str, float]) -> None:
        """Called after the update, with the job's figures."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What this process keeps from step to step."""
        ...

    def state(self) -> dict[str, Any]:
        """What all processes keep alike, as plain values."""
        ...

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Undo both."""
        ...
