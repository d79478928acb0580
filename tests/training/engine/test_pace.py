from __future__ import annotations

from pathlib import Path

from memplus.training.engine.common_config import OptimizerConfig
from memplus.training.engine.pace import pace
from memplus.training.engine.schedules import rate_factor
from memplus.training.masked.run_config import MaskedRun
from memplus.training.text.run_config import RunConfig


def test_runs_of_every_kind_go_as_their_config_says() -> None:
    optimizer = OptimizerConfig(schedule="cosine", warmup=2, final=0.3, clip=0.5)
    for kind in (MaskedRun, RunConfig):
        run = kind(
            out=Path("run"), steps=10, seed=4, accumulate=2, precision="bfloat16", report=3,
            checkpoint=5, keep=7, tensorboard=True,
        )  # fmt: skip
        made = pace(run, optimizer)
        assert (made.steps, made.seed, made.accumulate, made.precision) == (10, 4, 2, "bfloat16")
        assert (made.report, made.checkpoint, made.keep, made.tensorboard) == (3, 5, 7, True)
        assert made.clip == 0.5
        for step in (0, 1, 2, 6, 10):
            assert made.rate(2.0, step) == 2.0 * rate_factor("cosine", step, 10, 2, 0.3)
