"""One process or many: what the loop needs of Accelerate, and no more.

The only file that imports Accelerate.

Shapes: none of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Processes"]


class Processes:
    """The processes of a run, however they were started (``accelerate launch``, ``torchrun``).

    Args:
        sharded: divide weights, gradients and optimizer among them (FSDP2).
    """

    def __init__(self, *, sharded: bool = False) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.utils import FullyShardedDataParallelPlugin

        # A task may leave weights unused: no retriever without a store, no write adapter in a
        # revisit.
        handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        plugin = None
        if sharded:
            plugin = FullyShardedDataParallelPlugin(
                fsdp_version=2,
                auto_wrap_policy="transformer_based_wrap",
                reshard_after_forward=True,
                cpu_ram_efficient_loading=False,
            )
        self._accelerator = Accelerator(kwargs_handlers=[handler], fsdp_plugin=plugin)

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

    def prepare(self, module: nn.Module, optimizers: Sequence[Optimizer]) -> Any:
        """The module to call, with gradients averaged over processes; optimizers keep serving."""
        prepared = self._accelerator.prepare(module, *optimizers)
        return prepared[0] if optimizers else prepared

    @contextlib.contextmanager
    def part_of_step(self, module: Any, *, last: bool) -> Iterator[None]:
        """A pass of a step; gradients go from process to process only after the last one."""
        with contextlib.nullcontext() if last else self._accelerator.no_sync(module):
            yield

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss."""
        self._accelerator.backward(loss)

    def clip(self, weights: Sequence[nn.Parameter], norm: float) -> float:
        """Clip the gradients to a norm and return the one they had."""
        found = self._accelerator.clip_grad_norm_(list(weights), norm)
        full = getattr(found, "full_tensor", None)
        return float(found if full is None else full())

    def mean(self, figures: dict[str, Tensor]) -> dict[str, float]:
        """Means over processes; those that are no number in one of them count in the others."""
        names = sorted(figures)
        values = torch.stack([figures[name].float().to(self.device) for name in names])
        together = self._accelerator.gather(values[None])
        means = together.nanmean(dim=0) if len(names) else values
        # A loss that is no number anywhere must not hide behind the others.
        lost = together.isnan().any(dim=0)
        return {
            name: float("nan") if bool(gone) and name == "loss" else float(mean)
            for name, mean, gone in zip(names, means, lost, strict=True)
        }
