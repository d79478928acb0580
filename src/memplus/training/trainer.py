"""The loop: stages, optimizers, checkpoints, figures. It knows nothing of a model's architecture.

Every step draws from generators seeded by the run's seed and the step's number, so a resumed run
makes the episodes that an uninterrupted one would have made; only the rows that a step takes over
from the steps before it start anew.

Shapes: none of its own.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from memplus.model import MPlus
from memplus.training.episodes import EpisodeMaker
from memplus.training.recipe import Recipe
from memplus.training.step import Stepper

__all__ = ["Progress", "State", "Trainer"]

_MODEL, _OPTIMIZERS, _STATE, _METRICS = "model", "optimizers.safetensors", "state.json", "log.jsonl"
_SMOOTHING = 0.95
_CLIP = 1.0


@dataclass(frozen=True)
class Progress:
    """Where a run stands, after each step."""

    step: int
    steps: int
    stage: str
    tokens_per_second: float
    seconds_left: float
    figures: dict[str, float]


@dataclass
class State:
    """What a run knows beside its weights."""

    step: int = 0
    stage: int = 0
    in_stage: int = 0
    """Steps of this stage's own."""
    running: float = 0.0
    """Smoothed accuracy of this stage's plain steps."""


@dataclass
class Trainer:
    """Trains a model with memory by a recipe.

    Args:
        model: is changed.
        recipe: stages and weights.
        maker: of episodes.
        folder: checkpoints and ``log.jsonl`` go there.
        seed: of everything drawn.
        report: steps between two lines of the log.
        checkpoint: steps between two checkpoints.
    """

    model: MPlus
    recipe: Recipe
    maker: EpisodeMaker
    folder: Path
    seed: int = 0
    report: int = 25
    checkpoint: int = 200
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self._generator = torch.Generator()
        self._stepper = Stepper(self.model, self.recipe, self._generator)
        self._optimizers = _optimizers(self.model, self.recipe.optimizing.learning_rate)

    def run(self, steps: int, progress: Callable[[Progress], None] | None = None) -> None:
        """Train until ``steps`` steps are done in all, counting those of a resumed run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _training(self.model):
            self._run(steps, progress)

    def _run(self, steps: int, progress: Callable[[Progress], None] | None) -> None:
        gathered: dict[str, list[float]] = {}
        started, tokens, first = time.perf_counter(), 0, self.state.step
        while self.state.step < steps:
            figures, count = self._step(steps)
            tokens += count
            for name, value in figures.items():
                gathered.setdefault(name, []).append(value)
            seconds = time.perf_counter() - started
            left = seconds / (self.state.step - first) * (steps - self.state.step)
            name = self.recipe.stages[self.state.stage].name
            now = Progress(self.state.step, steps, name, tokens / seconds, left, figures)
            if self.state.step % self.report == 0:
                self._log(now, {name: fmean(values) for name, values in gathered.items()})
                gathered.clear()
            if self.state.step % self.checkpoint == 0 or self.state.step == steps:
                self.save()
            if progress is not None:
                progress(now)

    def _step(self, steps: int) -> tuple[dict[str, float], int]:
        """One update; its figures and the tokens it read and wrote."""
        random = Random(f"{self.seed}/{self.state.step}")
        self._generator.manual_seed(random.getrandbits(62))
        optimizing = self.recipe.optimizing
        index = self.state.stage
        if index and random.random() < optimizing.easier:
            index = random.randrange(index)
        stage = self.recipe.stages[index]
        tail = random.random() < optimizing.tail
        episode = self.maker.make(stage, random, tail=tail)
        self._set_rate(steps)
        half = optimizing.precision == "bf16"
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=half):
            loss, figures = self._stepper.step(stage, episode)
        loss.backward()
        nn.utils.clip_grad_norm_(list(self.model.parameters()), _CLIP)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.state.step += 1
        if index == self.state.stage and not tail:
            self._advance(figures["right"])
        return figures, episode.chunks.numel() + episode.ids.numel()

    def _set_rate(self, steps: int) -> None:
        optimizing, done = self.recipe.optimizing, self.state.step
        rise = min(1.0, (done + 1) / optimizing.warmup)
        fall = max(0.1, min(1.0, (steps - done) / optimizing.cooldown))
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizing.learning_rate * rise * fall

    def _advance(self, right: float) -> None:
        state = self.state
        state.in_stage += 1
        state.running = _SMOOTHING * state.running + (1 - _SMOOTHING) * right
        last = state.stage == len(self.recipe.stages) - 1
        if state.running > self.recipe.stages[state.stage].advance and not last:
            state.stage, state.in_stage, state.running = state.stage + 1, 0, 0.0

    def _log(self, now: Progress, figures: dict[str, float]) -> None:
        line = {
            "step": now.step,
            "stage": now.stage,
            "tokens_per_second": round(now.tokens_per_second),
            **{name: round(value, 4) for name, value in figures.items()},
        }
        with (self.folder / _METRICS).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write a checkpoint: the model in our layout, the optimizers, the state."""
        self.model.save_pretrained(self.folder / _MODEL)
        save_file(dict(self._flat()), self.folder / _OPTIMIZERS)
        (self.folder / _STATE).write_text(json.dumps(asdict(self.state)), encoding="utf-8")

    def resume(self) -> None:
        """Take up the optimizers and the state of ``folder``'s checkpoint.

        The caller gives the checkpoint's model to the constructor.

        Raises:
            OSError: there is no checkpoint.
        """
        self.state = State(**json.loads((self.folder / _STATE).read_text(encoding="utf-8")))
        kept = load_file(self.folder / _OPTIMIZERS)
        for index, optimizer in enumerate(self._optimizers):
            for place, weight in enumerate(_weights_of(optimizer)):
                stem = f"{index}.{place}."
                found = {n.removeprefix(stem): t for n, t in kept.items() if n.startswith(stem)}
                optimizer.state[weight].update(found)

    def _flat(self) -> Iterator[tuple[str, Tensor]]:
        for index, optimizer in enumerate(self._optimizers):
            for place, weight in enumerate(_weights_of(optimizer)):
                for name, value in optimizer.state[weight].items():
                    yield f"{index}.{place}.{name}", value.detach().clone().contiguous()


@contextlib.contextmanager
def _training(model: MPlus) -> Iterator[None]:
    """Training mode; on a CPU with plain attention, whose gradients are faster than fused ones."""
    backbone = model.backbone
    before = backbone.attention_implementation
    if model.device.type == "cpu":
        backbone.attention_implementation = "eager"
    model.train()
    try:
        yield
    finally:
        model.eval()
        backbone.attention_implementation = before


def _optimizers(model: MPlus, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of layers and retriever, AdamW for embeddings and vectors."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    embedding = model.backbone.embedding.weight
    for weight in model.parameters():
        if weight.requires_grad:
            of_layers = weight.ndim == 2 and weight is not embedding
            (matrices if of_layers else others).append(weight)
    muon = torch.optim.Muon(
        matrices, lr=rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)]


def _weights_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]
