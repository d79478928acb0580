"""An adapter from its config to its files: what ``memplus train --config`` does with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch.optim import AdamW

from memplus.backbone.lora import Lora
from memplus.mplus.adapter_folder import AdapterRecord, save_adapter
from memplus.training.engine.checkpoints import require_begun
from memplus.training.engine.loop import Loop, Progress
from memplus.training.engine.pace import pace
from memplus.training.engine.processes import Processes
from memplus.training.engine.same_run import describe
from memplus.training.engine.stock_base import open_stock_base
from memplus.training.masked.run_config import AdapterRunConfig
from memplus.training.masked.step import MaskedStep
from memplus.training.masked.workload import MaskedWorkload

__all__ = ["FINAL", "AdapterRun"]

FINAL = "final"


class AdapterRun:
    """A run that learns an adapter, ready for its first step.

    Args:
        config: the run.
        resume: continue from its newest checkpoint.

    Raises:
        ConfigError: a field is wrong, or the run's folder holds another run already.
        MemplusError: the base, or what examples are made from, cannot be read.
    """

    def __init__(self, config: AdapterRunConfig, *, resume: bool = False) -> None:
        self.config = config
        require_begun(config.run.out, resume=resume)
        self.processes = Processes()
        self.base = open_stock_base(config.base, config.dtype, self.processes.device)
        self.backbone = self.base.backbone
        torch.manual_seed(config.run.seed)
        self.lora = Lora(self.backbone, config.adapter).float()
        module = MaskedStep(self.backbone, self.lora)
        self.workload = MaskedWorkload(
            module,
            config,
            self.base.tokenizer,
            positions=self.backbone.rope.positions,
            processes=self.processes.count,
        )
        optimizer = config.optimizer
        rates = AdamW(
            self.lora.parameters(),
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
            weight_decay=optimizer.weight_decay,
        )
        self.loop = Loop(
            self.workload,
            [rates],
            config.run.out,
            pace(config.run, config.optimizer),
            self.processes,
            description=describe(config, {"base": self.base.digest}),
        )
        if resume:
            self.loop.resume()

    def run(self, progress: Callable[[Progress], None] | None = None) -> Path:
        """Train to the end and write the adapter.

        Returns:
            Its folder.
        """
        self.loop.run(progress)
        folder = self.config.run.out / FINAL
        run, optimizer = self.config.run, self.config.optimizer
        trained = {
            "steps": run.steps,
            "examples": run.steps * run.accumulate * run.examples,
            "kinds": [one.kind for one in self.config.examples],
            "seed": run.seed,
            "learning_rate": optimizer.learning_rate,
        }
        record = AdapterRecord(self.config.adapter, self.config.base, self.base.digest, trained)
        save_adapter(folder, self.lora, record)
        return folder
