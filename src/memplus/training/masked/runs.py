"""An adapter from its config to its files: what ``memplus train --config`` does with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch.optim import AdamW

from memplus.backbone.access import Backbone
from memplus.backbone.lora import Lora
from memplus.backbone.stock import load_stock, load_tokenizer
from memplus.errors import ConfigError, TokenizerMissingError
from memplus.mplus.adapter_folder import AdapterRecord, base_digest, save_adapter
from memplus.mplus.locating import locate_backbone
from memplus.training.engine.checkpoints import Checkpoints
from memplus.training.engine.loop import Loop, Progress
from memplus.training.engine.pace import pace
from memplus.training.engine.processes import Processes
from memplus.training.masked.run_config import AdapterRunConfig
from memplus.training.masked.step import MaskedStep
from memplus.training.masked.workload import MaskedWorkload

__all__ = ["FINAL", "AdapterRun"]

FINAL = "final"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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
        if not resume and (config.run.out / "checkpoints").exists():
            reason = "a run is there already; continue it with --resume, or choose another folder"
            raise ConfigError("run.out", value=str(config.run.out), reason=reason)
        if resume:
            Checkpoints(config.run.out).latest()
        self.processes = Processes()
        self._origin = locate_backbone(config.base)
        model = load_stock(self._origin.path, _DTYPES[config.dtype], self.processes.device)
        tokenizer = load_tokenizer(self._origin.path)
        if tokenizer is None:
            raise TokenizerMissingError(config.base)
        model.requires_grad_(requires_grad=False)
        if self.processes.device.type == "cpu":
            # Its gradients are faster than those of the fused function.
            model.config._attn_implementation = "eager"
        self.backbone = Backbone(model)
        torch.manual_seed(config.run.seed)
        self.lora = Lora(self.backbone, config.adapter).float()
        module = MaskedStep(self.backbone, self.lora)
        self.workload = MaskedWorkload(
            module,
            config,
            tokenizer,
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
        digest = base_digest(self._origin, self.backbone)
        run, optimizer = self.config.run, self.config.optimizer
        trained = {
            "steps": run.steps,
            "examples": run.steps * run.accumulate * run.examples,
            "kinds": [one.kind for one in self.config.examples],
            "seed": run.seed,
            "learning_rate": optimizer.learning_rate,
        }
        record = AdapterRecord(self.config.adapter, self.config.base, digest or "", trained)
        save_adapter(folder, self.lora, record)
        return folder
