"""Training on questions about notes: episodes of stages, each until it is answered well enough.

Every step draws from generators seeded by the run's seed and the step's number, so a resumed run
makes the episodes that an uninterrupted one would have made.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memplus.errors import TrainingStartError
from memplus.mplus.model import MPlus
from memplus.training.engine.loop import Pace
from memplus.training.engine.workload import Figures
from memplus.training.notes.jobs import JobSource, NotesJob
from memplus.training.notes.recipe import Recipe
from memplus.training.notes.step import Stepper

__all__ = ["NotesStep", "NotesWorkload", "Standing", "notes_pace"]

_SMOOTHING = 0.95


@dataclass
class Standing:
    """Where the stages stand."""

    stage: int = 0
    running: float = 0.0
    """Smoothed accuracy of this stage's plain steps."""


class NotesStep(nn.Module):
    """A model and what a step takes over from the ones before it."""

    def __init__(self, model: MPlus, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.generator = torch.Generator()
        self.stepper = Stepper(model, recipe, self.generator)

    def forward(self, job: NotesJob) -> tuple[Tensor, Figures]:
        """The loss [] of an episode and its figures."""
        self.generator.manual_seed(job.seed)
        return self.stepper.step(job.stage, job.episode)


class NotesWorkload:
    """The stages of a recipe.

    Args:
        model: is trained.
        recipe: stages and weights.
        maker: of episodes, there and then or ahead.
        seed: of everything drawn.
        stage: to begin with.
        processes: of the run; episodes are not divided.

    Raises:
        TrainingStartError: there are several processes.
    """

    def __init__(
        self,
        model: MPlus,
        recipe: Recipe,
        maker: JobSource,
        seed: int = 0,
        *,
        stage: int = 0,
        processes: int = 1,
    ) -> None:
        if processes > 1:
            raise TrainingStartError(
                "notes are learned in one process; start it without a launcher"
            )
        self.module = NotesStep(model, recipe)
        self.recipe = recipe
        self.maker = maker
        self.seed = seed
        self.standing = Standing(stage)

    def draw(self, step: int, part: int) -> NotesJob:
        """An episode of the stage, or sometimes of one before it."""
        return self.maker.draw(self.seed, step, part, self.standing.stage)

    def advance(self, job: NotesJob, figures: dict[str, float]) -> None:
        """Go to the next stage when this one is answered well enough."""
        if not job.counts or "right" not in figures:
            return
        standing = self.standing
        standing.running = _SMOOTHING * standing.running + (1 - _SMOOTHING) * figures["right"]
        last = standing.stage == len(self.recipe.stages) - 1
        if standing.running > self.recipe.stages[standing.stage].advance and not last:
            self.standing = Standing(standing.stage + 1)

    def tensors(self) -> dict[str, Tensor]:
        """Rows of the steps before: the context of a first chunk, and the distractors."""
        stepper = self.module.stepper
        named = {} if stepper.context is None else {"context": stepper.context}
        for place, rows in enumerate(stepper.earlier):
            named |= {f"earlier.{place}.{layer}": one for layer, one in enumerate(rows)}
        return named

    def state(self) -> dict[str, Any]:
        """Where the stages stand."""
        return {**asdict(self.standing), "earlier": len(self.module.stepper.earlier)}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        stepper, count = self.module.stepper, state["earlier"]
        self.standing = Standing(state["stage"], state["running"])
        layers = range(len(self.module.model.backbone.layers))
        device = self.module.model.device
        copies = {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}
        stepper.context = copies.get("context")
        stepper.earlier = [
            [copies[f"earlier.{place}.{layer}"] for layer in layers] for place in range(count)
        ]


def notes_pace(recipe: Recipe, steps: int, seed: int) -> Pace:
    """How the loop goes through a recipe: up in a straight line, and down at the very end."""
    optimizing = recipe.optimizing
    share = optimizing.cooldown < 1
    cooldown = max(1.0, optimizing.cooldown * (steps if share else 1))

    def rate(base: float, step: int) -> float:
        rise = min(1.0, (step + 1) / optimizing.warmup)
        fall = max(0.1, min(1.0, (steps - step) / cooldown))
        return base * rise * fall

    half = optimizing.precision == "bf16"
    return Pace(
        steps,
        rate,
        precision="bfloat16" if half else "float32",
        report=25,
        checkpoint=200,
        seed=seed,
    )
