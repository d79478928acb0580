"""How a run goes, from what its config says of it: the same for every kind of run."""

from __future__ import annotations

from memplus.training.engine.common_config import OptimizerConfig, RunSizes
from memplus.training.engine.loop import Pace
from memplus.training.engine.schedules import rate_factor

__all__ = ["pace"]


def pace(run: RunSizes, optimizer: OptimizerConfig) -> Pace:
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
