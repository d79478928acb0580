"""Training on questions about notes: episodes of stages, each until it is answered well enough.

Every step draws from generators seeded by the run's seed and the step's number, so a resumed run
makes the episodes that an uninterrupted one would have made.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from memplus.errors import TrainingError
from memplus.mplus.model import MPlus
from memplus.training.engine.loop import Pace
from memplus.training.engine.workload import Figures
from memplus.training.notes.episodes import Episode, EpisodeMaker
from memplus.training.notes.recipe import Recipe, Stage
from memplus.training.notes.step import Stepper

__all__ = ["NotesJob", "NotesStep", "NotesWorkload", "Standing", "notes_pace"]

_SMOOTHING = 0.95


@dataclass(frozen=True)
class NotesJob:
    """An episode of a stage."""

    stage: Stage
    episode: Episode
    seed: int
    """Of what the step itself draws."""
    counts: bool
    """Whether its accuracy decides when the stage ends."""

    @property
    def label(self) -> str:
        """Name of the stage."""
        return self.stage.name

    @property
    def tokens(self) -> int:
        """Tokens written and read."""
        return self.episode.chunks.numel() + self.episode.ids.numel()


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
        loss, figures = self.stepper.step(job.stage, job.episode)
        return loss, {name: torch.tensor(value) for name, value in figures.items()}


class NotesWorkload:
    """The stages of a recipe.

    Args:
        model: is trained.
        recipe: stages and weights.
        maker: of episodes.
        seed: of everything drawn.
        stage: to begin with.
        processes: of the run; episodes are not divided.

    Raises:
        TrainingError: there are several processes.
    """

    def __init__(
        self,
        model: MPlus,
        recipe: Recipe,
        maker: EpisodeMaker,
        seed: int = 0,
        *,
        stage: int = 0,
        processes: int = 1,
    ) -> None:
        if processes > 1:
            raise TrainingError("notes are learned in one process; start it without a launcher")
        self.module = NotesStep(model, recipe)
        self.recipe = recipe
        self.maker = maker
        self.seed = seed
        self.standing = Standing(stage)

    def draw(self, step: int, part: int) -> NotesJob:
        """An episode of the stage, or sometimes of one before it."""
        random = Random(f"{self.seed}/{step}" + (f"/{part}" if part else ""))
        seed = random.getrandbits(62)
        optimizing, index = self.recipe.optimizing, self.standing.stage
        if index and random.random() < optimizing.easier:
            index = random.randrange(index)
        stage = self.recipe.stages[index]
        tail = random.random() < optimizing.tail
        episode = self.maker.make(stage, random, tail=tail)
        return NotesJob(stage, episode, seed, index == self.standing.stage and not tail)

    def advance(self, job: NotesJob, figures: dict[str, float]) -> None:
        """Go to the next stage when this one is answered well enough."""
        if not job.counts:
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
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        stepper.context = copies.get("context")
        stepper.earlier = [
            [copies[f"earlier.{place}.{layer}"] for layer in layers] for place in range(count)
        ]


def notes_pace(recipe: Recipe, steps: int, seed: int) -> Pace:
    """How the loop goes through a recipe: up in a straight line, and down at the very end."""
    optimizing = recipe.optimizing

    def rate(base: float, step: int) -> float:
        rise = min(1.0, (step + 1) / optimizing.warmup)
        fall = max(0.1, min(1.0, (steps - step) / optimizing.cooldown))
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
