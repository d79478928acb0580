"""A run from its config to a finished model: what ``memplus train --config`` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from memplus.data.corpus import read_texts
from memplus.errors import ConfigError
from memplus.mplus.bases import known_bases
from memplus.mplus.model import MPlus
from memplus.mplus.pretrained import REFERENCE
from memplus.passes.pristine import Pristine
from memplus.training.engine.checkpoints import Checkpoints, require_begun
from memplus.training.engine.loop import Loop, Progress, load_weights
from memplus.training.engine.modes import training_mode
from memplus.training.engine.optimizers import make_optimizers
from memplus.training.engine.pace import pace
from memplus.training.engine.processes import Processes
from memplus.training.engine.same_run import describe
from memplus.training.tasks.lanes import LaneMemory
from memplus.training.tasks.pristine_rows import pristine_of
from memplus.training.text.estimate import check_memory
from memplus.training.text.record import write_record
from memplus.training.text.run_config import TrainingConfig
from memplus.training.text.starting import begin_retriever, starting_model
from memplus.training.text.text_cache import Documents, load_documents, text_files
from memplus.training.text.workload import TextWorkload

__all__ = ["FINAL", "TextRun"]

FINAL = "final"
_SAMPLED_TEXTS = 2000


class TextRun:
    """A run on running text, ready for its first step.

    Args:
        config: the run.
        resume: continue from its newest checkpoint.
        tokenised: called with the number of documents tokenised so far, where none are kept.

    Raises:
        ConfigError: a field is wrong, or the run's folder holds another run already.
        TrainingBudgetError: it would need more memory than there is.
        MemplusError: texts or model cannot be read.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        resume: bool = False,
        tokenised: Callable[[int], None] | None = None,
    ) -> None:
        self.config = config
        require_begun(config.run.out, resume=resume)
        self.processes = Processes()
        with self.processes.first_before_others():
            model = starting_model(config, self._tokenizer_texts(resume=resume))
            self.documents = load_documents(config.data, model.tokenizer, tokenised)
        made_from = {"model": model.base_fingerprint, "data.texts": self.documents.content}
        self._check_positions(model)
        begin_retriever(model, self.documents)
        model.to(self.processes.device)
        check_memory(model, config, self.processes.count)
        self.model = model
        self.workload = TextWorkload(
            model,
            config,
            self.documents,
            process=self.processes.index,
            processes=self.processes.count,
        )
        if config.run.sharded:
            self.processes.shard(self.workload.module, _parts(model))
        optimizers = make_optimizers(model, config.optimizer, config.retriever.learning_rate)
        self.loop = Loop(
            self.workload,
            optimizers,
            config.run.out,
            pace(config.run, config.optimizer),
            self.processes,
            description=describe(config, made_from),
        )
        if resume:
            self.loop.resume()

    def _tokenizer_texts(self, *, resume: bool) -> list[str] | None:
        config = self.config
        if config.model.fresh is None or resume or not self.processes.first:
            return None
        if config.data.stream is not None:
            reason = "its tokenizer is made from local texts; give data.texts, not data.stream"
            raise ConfigError("model.fresh", value="data.stream", reason=reason)
        return [
            text
            for _, text in zip(range(_SAMPLED_TEXTS), read_texts(text_files(config.data.texts)))
        ]

    def _check_positions(self, model: MPlus) -> None:
        rows = self.config.memory
        longest = max(task.largest(rows).target_tokens for task in self.config.tasks)
        prefix = int(rows.bos) + rows.retrieved_tokens + rows.short_term_tokens
        if prefix + longest > model.positions:
            reason = f"behind {prefix} rows the model has positions for {model.positions - prefix}"
            raise ConfigError("tasks.target_tokens", value=longest, reason=reason)

    def run(self, progress: Callable[[Progress], None] | None = None) -> Path:
        """Train to the end and write the finished model.

        Returns:
            Its folder.
        """
        with training_mode(self.model):
            self.loop.run(progress)
        self.loop.processes.wait()
        folder = self.config.run.out / FINAL
        if self.processes.first:
            save_final(self.config, self.workload.module.memory, folder, self.documents)
            write_record(folder, self.config, self.workload.learned_from)
        self.processes.wait()
        return folder


def _parts(model: MPlus) -> list[nn.Module]:
    """What is gathered by itself: layers, and their first norms, which the retriever uses too."""
    layers = model.backbone.layers
    norms = [layer.norm_module for layer in layers if layer.norm_module is not None]
    return [*norms, *(layer.module for layer in layers)]


def save_final(
    config: TrainingConfig, memory: LaneMemory, folder: Path, documents: Documents
) -> None:
    """Write the model of the newest checkpoint, with the first document's rows as its pool.

    Made anew from what the run started from, so that it is whole however the run divided it.

    Raises:
        NotARunError: there is no checkpoint.
        StorageError: the disk refused.
        BundleError: it is to be saved as adapters, and what it started from has changed.
    """
    newest, _ = Checkpoints(config.run.out).latest()
    model = starting_model(config)
    begin_retriever(model, documents)
    holder = _Holder(model)
    load_weights(holder, newest)
    full = config.run.keeps_rows and memory.detached.count == config.memory.short_term_tokens
    model.pristine = Pristine()
    if full:
        model.pristine = pristine_of(model, memory, config.memory.retrieved_tokens)
    model.save_pretrained(folder, base=REFERENCE if _as_adapters(config, model) else None)


def _as_adapters(config: TrainingConfig, model: MPlus) -> bool:
    """Whether the finished model is saved as a bundle over what the run started from."""
    origin = model.origin
    if config.run.save != "auto" or config.model.trainable != "adapters" or origin is None:
        return config.run.save == "adapters"
    return origin.bundle is not None or origin.name in known_bases()


class _Holder(nn.Module):
    """Names a model's weights as a training module does."""

    def __init__(self, model: MPlus) -> None:
        super().__init__()
        self.model = model
