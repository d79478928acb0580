"""One process or many: what the loop needs of Accelerate, and no more.

The only file that imports Accelerate.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memplus.errors import TrainingStartError

__all__ = ["Processes"]


class Processes:
    """The processes of a run, however they were started (``accelerate launch``, ``torchrun``).

    Args:
        cpu: compute on the CPU where there is a GPU, too.

    Raises:
        TrainingStartError: there are fewer of them than were started.
    """

    def __init__(self, *, cpu: bool = False) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        # A task may leave weights unused: no retriever without a long-term memory, no write
        # adapter in a revisit.
        handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        cpu = cpu or not torch.cuda.is_available()
        self._accelerator = Accelerator(cpu=cpu, kwargs_handlers=[handler])
        self._sharded = False
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started != self.count:
            # They would train side by side, each writing over the other's files.
            raise TrainingStartError(
                f"{started} processes were started, but {self.count} found together"
            )

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self._accelerator.device
        return device

    @property
    def index(self) -> int:
        """Of this process."""
        return int(self._accelerator.process_index)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._accelerator.num_processes)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes what all share."""
        return bool(self._accelerator.is_main_process)

    def wait(self) -> None:
        """Until every process is here."""
        self._accelerator.wait_for_everyone()

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first process alone, then the others."""
        with self._accelerator.main_process_first():
            yield

    def shard(self, module: nn.Module, parts: Sequence[nn.Module]) -> None:
        """Divide weights, gradients and optimizers among the processes, in place (FSDP2).

        Accelerate's own way divides on accelerators alone and wants a stock model at the root;
        here a whole step of training is the root, through which every weight is reached. To be
        called before optimizers are made: the weights become others.

        Args:
            module: the root.
            parts: modules gathered one at a time: the decoder's layers.
        """
        from torch.distributed.fsdp import fully_shard

        if self.count == 1:
            raise TrainingStartError(
                "run.sharded divides weights among processes, and this is only one"
            )
        for part in parts:
            fully_shard(part)
        fully_shard(module)
        self._sharded = True

    def prepare(self, module: nn.Module) -> Any:
        """The module to call, with gradients averaged over processes."""
        return module if self._sharded else self._accelerator.prepare(module)

    @contextlib.contextmanager
    def part_of_step(self, module: Any, *, last: bool) -> Iterator[None]:
        """A pass of a step; gradients go from process to process only after the last one."""
        if self._sharded:
            module.set_requires_gradient_sync(last)
        alone = not (last or self._sharded)
        with self._accelerator.no_sync(module) if alone else contextlib.nullcontext():
            yield

    def clip(self, weights: Sequence[nn.Parameter], norm: float) -> float:
        """Clip the gradients to a norm and return the one they had."""
        found: Any = nn.utils.clip_grad_norm_(list(weights), norm)
        full = getattr(found, "full_tensor", None)
        return float(found if full is None else full())

    def mean(self, figures: dict[str, Tensor]) -> dict[str, float]:
        """Means over processes; a figure that is NaN in one of them is averaged over the others."""
        names = sorted(figures)
        values = torch.stack([figures[name].float().to(self.device) for name in names])
        # Brought over at once: a GPU would be waited for at every single figure.
        together = self._accelerator.gather(values[None]).cpu()
        means = together.nanmean(dim=0) if names else values
        # A loss that is NaN in one process must not hide behind the others.
        lost = together.isnan().any(dim=0)
        return {
            name: float("nan") if bool(gone) and name == "loss" else float(mean)
            for name, mean, gone in zip(names, means, lost, strict=True)
        }
