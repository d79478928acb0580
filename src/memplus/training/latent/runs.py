"""A system's weights from their config to their folder: what ``memplus train --config`` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from memplus.errors import ConfigError
from memplus.systems.latent.mechanism import Mechanism
from memplus.systems.latent.weights import WeightsRecord, load_weights, read_record, save_weights
from memplus.training.engine.checkpoints import require_begun
from memplus.training.engine.loop import Loop, Progress
from memplus.training.engine.pace import pace
from memplus.training.engine.processes import Processes
from memplus.training.engine.same_run import describe
from memplus.training.engine.stock_base import StockBase, open_stock_base
from memplus.training.latent.optimizer import make_optimizer
from memplus.training.latent.run_config import SystemRunConfig
from memplus.training.latent.workload import LatentWorkload
from memplus.training.text.text_cache import load_documents

__all__ = ["FINAL", "SystemRun"]

FINAL = "final"


class SystemRun:
    """A run that learns a system's weights, ready for its first step.

    Args:
        config: the run.
        resume: continue from its newest checkpoint.
        tokenised: called with the number of documents tokenised so far, where none are kept.

    Raises:
        ConfigError: a field is wrong, or the run's folder holds another run already.
        MemplusError: the base, the weights to begin with or the texts cannot be read.
    """

    def __init__(
        self,
        config: SystemRunConfig,
        *,
        resume: bool = False,
        tokenised: Callable[[int], None] | None = None,
    ) -> None:
        self.config = config
        require_begun(config.run.out, resume=resume)
        self.processes = Processes()
        self.base = open_stock_base(config.base, config.dtype, self.processes.device)
        torch.manual_seed(config.run.seed)
        self.mechanism = begun(config, self.base)
        with self.processes.first_before_others():
            documents = load_documents(config.data, self.base.tokenizer, tokenised)
        self.workload = LatentWorkload(
            self.mechanism,
            config,
            documents,
            self.base.tokenizer,
            (self.processes.index, self.processes.count),
        )
        optimizer = make_optimizer(self.workload.module, config.optimizer)
        going = pace(config.run, config.optimizer)
        made_from = {"base": self.base.digest, "data.texts": documents.content}
        self.loop = Loop(
            self.workload,
            [optimizer],
            config.run.out,
            going,
            self.processes,
            description=describe(config, made_from),
        )
        if resume:
            self.loop.resume()

    def run(self, progress: Callable[[Progress], None] | None = None) -> Path:
        """Train to the end and write the weights.

        Returns:
            Their folder.
        """
        self.mechanism.train()
        self.loop.run(progress)
        self.mechanism.eval()
        folder = self.config.run.out / FINAL
        if self.processes.first:
            save_weights(folder, self.mechanism, self._record())
        self.processes.wait()
        return folder

    def _record(self) -> WeightsRecord:
        config = self.config
        trained: dict[str, Any] = {
            "steps": config.run.steps,
            **self.workload.counts,
            "tasks": [one.label for one in config.tasks],
            "seed": config.run.seed,
            "learning_rate": config.optimizer.learning_rate,
            "adapter_rate": config.optimizer.adapter_rate,
        }
        if config.start is not None:
            trained["start"] = dict(read_record(config.start).trained)
        kind, options = config.system_class, config.system_options
        sizes = kind.sizes(kind.decided(options, self.base.backbone))
        return WeightsRecord(config.system, sizes, config.base, self.base.digest, trained)


def begun(config: SystemRunConfig, base: StockBase) -> Mechanism[Any]:
    """The mechanism as the run begins with it, what is trained in float32.

    Raises:
        MissingWeightsDirectory, BundleBaseError, WeightsError: ``start`` cannot be begun with.
        ConfigError: it is of another system, or damaged.
    """
    made = config.system_class.build(base.backbone, config.system_options, base.decode)
    if config.start is not None:
        found = read_record(config.start).system
        if found != config.system:
            reason = f"its weights were trained for {found}"
            raise ConfigError("start", value=str(config.start), reason=reason)
        # Stages may differ in what is left out, so options are not compared: shapes must fit.
        learned = {name for name, weight in made.named_parameters() if weight.requires_grad}
        load_weights(config.start, made, base.digest or None)
        for name, weight in made.named_parameters():
            weight.requires_grad_(name in learned)
    return made.float()
