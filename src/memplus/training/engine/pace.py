"""How a run goes, from what its config says of it: the same for every kind of run."""

from __future__ import annotations

from typing import Literal, Protocol

from memplus.training.engine.common_config import OptimizerConfig
from memplus.training.engine.loop import Pace
from memplus.training.engine.schedules import rate_factor

__all__ = ["Paced", "pace"]


class Paced(Protocol):
    """Length, precision and reports of a run, as the ``run`` of a config has them."""

    @property
    def steps(self) -> int:
        """Updates of the weights."""
        ...

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""
        ...

    @property
    def accumulate(self) -> int:
        """Passes before an update."""
        ...

    @property
    def precision(self) -> Literal["float32", "bfloat16"]:
        """What is computed in."""
        ...

    @property
    def report(self) -> int:
        """Steps between two lines of the log."""
        ...

    @property
    def checkpoint(self) -> int:
        """Steps between two checkpoints."""
        ...

    @property
    def keep(self) -> int:
        """Checkpoints kept."""
        ...

    @property
    def tensorboard(self) -> bool:
        """Whether the log is written for TensorBoard too."""
        ...


def pace(run: Paced, optimizer: OptimizerConfig) -> Pace:
    """The pace of a run whose learning rates follow its optimizer's schedule."""

    def rate(base: float, step: int) -> float:
        kind, warmup, final = optimizer.schedule, optimizer.warmup, optimizer.final
        return base * rate_factor(kind, step, run.steps, warmup, final)

    return Pace(
        run.steps,
        rate,
        accumulate=run.accumulate,
        clip=optimizer.clip,
        precision=run.precision,
        report=run.report,
        checkpoint=run.checkpoint,
        keep=run.keep,
        tensorboard=run.tensorboard,
        seed=run.seed,
    )
