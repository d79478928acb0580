"""The loop of every training run: steps, learning rates, checkpoints, figures, and when to stop.

It knows nothing of what is learned (``workload``) and nothing of a model's architecture.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from memplus.errors import ConfigError, NotFiniteError, TrainingError
from memplus.errors.base import storage_errors
from memplus.training.engine.checkpoints import Checkpoints
from memplus.training.engine.metrics import Metrics
from memplus.training.engine.optimizers import optimizer_tensors, restore_optimizers, whole
from memplus.training.engine.processes import Processes
from memplus.training.engine.same_run import Description, require_same
from memplus.training.engine.workload import Job, Workload

__all__ = ["Loop", "Pace", "Progress"]

_WEIGHTS, _OPTIMIZERS = "weights.safetensors", "optimizers.safetensors"
_PRECISION = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Progress:
    """Where a run stands, after each step."""

    step: int
    steps: int
    label: str
    """The task or stage of the step."""
    tokens_per_second: float
    seconds_left: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Pace:
    """How a run goes, whatever it learns."""

    steps: int
    """Updates in all, those of a resumed run counted."""
    rate: Callable[[float, int], float]
    """(learning rate of a group, updates done) -> that of the next update."""
    accumulate: int = 1
    """Passes to an update."""
    clip: float = 1.0
    """Largest norm of all gradients together."""
    precision: Literal["float32", "bfloat16"] = "float32"
    report: int = 10
    """Steps between two lines of the log."""
    checkpoint: int = 500
    """Steps between two checkpoints; there is one at the end as well."""
    keep: int = 2
    """Checkpoints kept."""
    tensorboard: bool = False
    seed: int = 0


class Loop:
    """Trains a workload.

    Args:
        workload: what is learned.
        optimizers: over the trainable weights of its module.
        folder: of the run.
        pace: steps, rates, reports.
        processes: which this one belongs to; a single one by default.
        description: what the run is; a checkpoint of another one is refused.
    """

    def __init__(
        self,
        workload: Workload,
        optimizers: list[Optimizer],
        folder: Path,
        pace: Pace,
        processes: Processes | None = None,
        *,
        description: Description | None = None,
    ) -> None:
        self.workload = workload
        self.description = description or {}
        self.folder = folder
        self.pace = pace
        self.processes = processes or Processes()
        self.step = 0
        torch.manual_seed(pace.seed + self.processes.index)
        self._module = self.processes.prepare(workload.module)
        self._optimizers = optimizers
        self._base = [[group["lr"] for group in one.param_groups] for one in optimizers]
        self._checkpoints = Checkpoints(
            folder, pace.keep, first=self.processes.first, wait=self.processes.wait
        )

    def run(self, progress: Callable[[Progress], None] | None = None) -> None:
        """Train until ``pace.steps`` steps are done in all.

        Raises:
            NotFiniteError: a loss or a gradient is not finite; checkpoints stay valid.
            StorageError: the disk refused.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        metrics = None
        if self.processes.first:
            metrics = Metrics(self.folder, self.step, tensorboard=self.pace.tensorboard)
        try:
            self._run(metrics, progress)
        finally:
            if metrics is not None:
                metrics.close()

    def _run(self, metrics: Metrics | None, progress: Callable[[Progress], None] | None) -> None:
        started, tokens, first, pace = time.perf_counter(), 0, self.step, self.pace
        while self.step < pace.steps:
            jobs, figures, norm = self._update()
            tokens += sum(job.tokens for job in jobs)
            seconds = time.perf_counter() - started
            left = seconds / (self.step - first) * (pace.steps - self.step)
            now = Progress(
                self.step, pace.steps, jobs[-1].label, tokens / seconds, left, figures[-1]
            )
            if metrics is not None:
                for one in figures:
                    metrics.add(one)
                metrics.add({"gradient": norm})
                if self.step % pace.report == 0 or self.step == pace.steps:
                    rate = self._optimizers[0].param_groups[0]["lr"]
                    speed = round(now.tokens_per_second)
                    metrics.write(self.step, now.label, rate=rate, tokens_per_second=speed)
            if self.step % pace.checkpoint == 0 or self.step == pace.steps:
                self.save()
            if progress is not None and self.processes.first:
                progress(now)

    def _update(self) -> tuple[list[Job], list[dict[str, float]], float]:
        """One step: its passes' jobs and figures, and the norm of its gradients."""
        pace, jobs, figures = self.pace, [], []
        self._set_rates()
        for part in range(pace.accumulate):
            job = self.workload.draw(self.step, part)
            last = part == pace.accumulate - 1
            with self.processes.part_of_step(self._module, last=last):
                found = self._pass(job)
            jobs.append(job)
            figures.append(found)
        weights = [w for w in self.workload.module.parameters() if w.requires_grad]
        norm = self.processes.clip(weights, pace.clip)
        if not math.isfinite(norm):
            raise NotFiniteError("the gradient", task=jobs[-1].label, step=self.step + 1)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        for job, found in zip(jobs, figures, strict=True):
            self.workload.advance(job, found)
        return jobs, figures, norm

    def _pass(self, job: Job) -> dict[str, float]:
        dtype = _PRECISION[self.pace.precision]
        half = dtype != torch.float32
        with torch.autocast(self.processes.device.type, dtype, enabled=half):
            loss, figures = self._module(job)
        means = self.processes.mean(figures)
        if not math.isfinite(means["loss"]):
            raise NotFiniteError("the loss", task=job.label, step=self.step + 1)
        (loss / self.pace.accumulate).backward()
        return means

    def _set_rates(self) -> None:
        for optimizer, bases in zip(self._optimizers, self._base, strict=True):
            for group, base in zip(optimizer.param_groups, bases, strict=True):
                group["lr"] = self.pace.rate(base, self.step)

    def save(self) -> None:
        """Write a checkpoint: weights, optimizers, the workload's own, generators."""
        weights = self._weights()
        moments = optimizer_tensors(self._optimizers)
        own = {f"own.{name}": tensor for name, tensor in self.workload.tensors().items()}
        own |= {f"generator.{name}": state for name, state in _generators().items()}

        def write(folder: Path) -> None:
            own_file = folder / f"process-{self.processes.index:05d}.safetensors"
            save_file({name: one.contiguous() for name, one in own.items()}, own_file)
            if self.processes.first:
                save_file(weights, folder / _WEIGHTS)
                save_file(moments, folder / _OPTIMIZERS)

        state = {
            "processes": self.processes.count,
            "run": self.description,
            "workload": self.workload.state(),
        }
        self._checkpoints.save(self.step, state, write)

    def resume(self) -> None:
        """Take up everything from the newest checkpoint.

        Raises:
            NotARunError: there is no checkpoint.
            ConfigError: it is of another run, or further than this one is to go.
            TrainingError: it was made by another number of processes.
        """
        folder, state = self._checkpoints.latest()
        require_same(state.get("run", {}), self.description)
        if state["step"] > self.pace.steps:
            reason = f"{state['step']} steps are done already"
            raise ConfigError("run.steps", value=self.pace.steps, reason=reason)
        if state["processes"] != self.processes.count:
            made, now = state["processes"], self.processes.count
            reason = f"the checkpoint is of {made} processes, and now there are {now}"
            raise TrainingError(reason)
        load_weights(self.workload.module, folder)
        restore_optimizers(self._optimizers, load_file(folder / _OPTIMIZERS))
        found = load_file(folder / f"process-{self.processes.index:05d}.safetensors")
        own = {n.removeprefix("own."): t for n, t in found.items() if n.startswith("own.")}
        self.workload.restore(own, state["workload"])
        _set_generators(found)
        self.step = int(state["step"])

    def _weights(self) -> dict[str, Tensor]:
        return {
            name: whole(weight).detach().cpu().clone().contiguous()
            for name, weight in self.workload.module.named_parameters()
            if weight.requires_grad
        }


@torch.no_grad()
def load_weights(module: nn.Module, folder: Path) -> None:
    """Put a checkpoint's trained weights into a module, in place.

    Raises:
        TrainingError: it trained other weights.
    """
    found = load_file(folder / _WEIGHTS)
    there = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    if differing := sorted(set(found) ^ set(there)):
        raise TrainingError(f"the checkpoint trained other weights: {differing[0]} and others")
    for name, weight in there.items():
        weight.copy_(_divided(found[name], weight))


def _divided(value: Tensor, weight: Any) -> Tensor:
    if not hasattr(weight, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    value = value.to(weight.device)
    return distribute_tensor(value, weight.device_mesh, weight.placements)


def _generators() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_generators(tensors: dict[str, Tensor]) -> None:
    torch.set_rng_state(tensors["generator.cpu"])
    if "generator.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["generator.cuda"])
