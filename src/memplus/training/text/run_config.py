"""What a training run is made of, as frozen, checked values.

Read from YAML; numbers and names only, no tensors. Every field is documented here, those of a task
in the task's own file, and a contradiction between two fields is named before anything heavy is
loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from memplus.config import MemoryConfig, PromptConfig, require
from memplus.errors import ConfigError
from memplus.fields import checked
from memplus.training.engine.common_config import STRICT, Architecture, OptimizerConfig, RunSizes
from memplus.training.engine.config_file import (
    named_under,
    parse_config_text,
    part,
    parts,
    read_config_file,
)
from memplus.training.tasks.protocol import Task
from memplus.training.tasks.registry import task_from
from memplus.training.tasks.retriever_config import RetrieverConfig

__all__ = [
    "DataConfig",
    "ModelConfig",
    "RunConfig",
    "StreamConfig",
    "TrainingConfig",
    "load_config",
    "parse_config",
]


_FRESH = part("model.fresh", partial(checked, Architecture))


@dataclass(frozen=True)
class ModelConfig:
    """Which weights the run starts from: exactly one of the first three."""

    __pydantic_config__ = STRICT

    start: str | None = None
    """A model with memory: a directory (an earlier stage's ``final``), a name, or a hub id."""
    backbone: str | None = None
    """A stock decoder that is given a fresh memory: a name of `memplus models`, a directory or a
    hub id."""
    fresh: Annotated[Architecture | None, _FRESH] = None
    """Sizes of a small decoder made from nothing, with a tokenizer made from the texts."""
    trainable: Literal["adapters", "all"] = "adapters"
    """The adapters, memory weights and retriever; or every weight."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights that are not trained; trained ones are kept in float32."""
    gradient_checkpointing: bool = False
    """Compute layers again in the backward pass instead of keeping what they computed."""

    def __post_init__(self) -> None:
        given = [n for n in ("start", "backbone", "fresh") if getattr(self, n) is not None]
        if len(given) != 1:
            name = f"model.{given[1] if given else 'start'}"
            value = getattr(self, given[1]) if given else None
            raise ConfigError(
                name, value=value, reason="give exactly one of start, backbone and fresh"
            )
        require(
            self.trainable == "all" or self.fresh is None,
            "model.trainable", self.trainable, "a fresh model has nothing else; use `all`",
        )  # fmt: skip


@dataclass(frozen=True)
class StreamConfig:
    """A named dataset, read with the `datasets` library (``pip install datasets``)."""

    __pydantic_config__ = STRICT

    name: str
    """Its hub id, or what `load_dataset` takes."""
    documents: int
    """How many are read, from the first one on."""
    config: str | None = None
    """Its configuration."""
    split: str = "train"
    """Its split."""
    field: str = "text"
    """The column that holds the text."""
    skip: int = 0
    """Documents left out before the first one."""

    def __post_init__(self) -> None:
        require(self.documents >= 1, "data.stream.documents", self.documents, "at least 1")
        require(self.skip >= 0, "data.stream.skip", self.skip, "it is below 0")


@dataclass(frozen=True)
class DataConfig:
    """Texts: local files or a stream, cut at document boundaries."""

    __pydantic_config__ = STRICT

    texts: tuple[str, ...] = ()
    """Files or patterns: plain text, ``.gz``, ``.jsonl`` with a ``text`` field."""
    stream: StreamConfig | None = None
    """A dataset instead of files."""
    skip: int = 0
    """First documents of the texts, which are left out: to be measured on later."""
    min_tokens: int = 64
    """Shorter documents are left out."""
    max_tokens: int = 65_536
    """Longer documents are cut into several."""
    cache: Path = Path(".memplus-cache")
    """Folder for tokenised texts, which are kept from run to run."""

    def __post_init__(self) -> None:
        require(
            bool(self.texts) != (self.stream is not None),
            "data.stream", self.stream, "give either texts or a stream",
        )  # fmt: skip
        require(self.skip >= 0, "data.skip", self.skip, "it is below 0")
        require(self.min_tokens >= 2, "data.min_tokens", self.min_tokens, "at least 2")
        require(
            self.max_tokens >= self.min_tokens,
            "data.max_tokens", self.max_tokens, f"it is below min_tokens ({self.min_tokens})",
        )  # fmt: skip


@dataclass(frozen=True)
class RunConfig(RunSizes):
    """Length, order, precision and what is kept."""

    counts: ClassVar[tuple[str, ...]] = (*RunSizes.counts, "documents")

    documents: int = 1
    """Documents side by side, each with a memory of its own; processes divide them."""
    sharded: bool = False
    """Divide weights, gradients and optimizer among processes (FSDP2)."""
    stored_rows: int = 0
    """Most rows per layer of a document's long-term memory while training, oldest out first; 0 is
    none."""
    store_on_cpu: bool = True
    """Keep that long-term memory in main memory whatever the device."""
    revisit_renewal: float = 0.2
    """Share of revisits after which another text is kept to be revisited."""
    language: float = 0.0
    """Weight of plain language modelling on the chunks while they are written."""
    checkpoint: int = 500
    """Steps between two checkpoints."""
    save: Literal["auto", "adapters", "whole"] = "auto"
    """What ``final`` is: the whole model, or a bundle of its adapters over what the run started
    from. ``auto``: a bundle where only adapters are trained and the run starts from a base model's
    name or from a bundle."""
    keeps_rows: bool = True
    """The finished model comes with the first document's rows, and new memories begin with them;
    otherwise they begin empty."""
    memory_gib: float | None = None
    """Memory to reckon with, in GiB per process, instead of what is found to be free."""

    def __post_init__(self) -> None:
        super().__post_init__()
        share = self.revisit_renewal
        require(0 < share <= 1, "run.revisit_renewal", share, "it is a share above 0")
        require(0 <= self.language < inf, "run.language", self.language, "at least 0")
        given = self.memory_gib
        require(given is None or 0 < given < inf, "run.memory_gib", given, "above 0")


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run."""

    __pydantic_config__ = STRICT

    model: ModelConfig
    memory: Annotated[MemoryConfig, part("memory", MemoryConfig.from_dict)]
    data: DataConfig
    tasks: Annotated[tuple[Task, ...], parts("tasks", task_from)]
    run: RunConfig
    prompt: Annotated[PromptConfig | None, part("prompt", PromptConfig.from_dict)] = None
    """How questions are put; None: as the model to start from has it."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    retriever: RetrieverConfig = field(default_factory=RetrieverConfig)

    def __post_init__(self) -> None:
        require(bool(self.tasks), "tasks", (), "a run needs at least one task")
        self._check_tasks()
        self._check_long_term()
        self.retriever.check(spans=self.memory.retrieves_spans)
        require(
            self.model.trainable == "all" or self.memory.adapters is not None,
            "memory.adapters", None, "model.trainable is `adapters`, but the memory has none",
        )  # fmt: skip
        require(
            self.model.dtype == "float32" or self.run.precision == "bfloat16",
            "run.precision", self.run.precision, f"model.dtype is {self.model.dtype}",
        )  # fmt: skip
        require(
            self.run.save != "adapters" or self.model.trainable == "adapters",
            "run.save", self.run.save, f"model.trainable is `{self.model.trainable}`",
        )  # fmt: skip
        require(
            self.optimizer.kind == "adamw" or not self.run.sharded,
            "optimizer.kind", self.optimizer.kind, "it needs whole matrices, not run.sharded",
        )  # fmt: skip

    def _check_tasks(self) -> None:
        labels = [task.label for task in self.tasks]
        for index, task in enumerate(self.tasks):
            one = task.label
            require(labels.count(one) == 1, f"tasks.{index}.name", one, "two tasks are called so")
            with named_under(f"tasks.{index}"):
                task.check(self.memory)
        waiting = [task.kind for task in self.tasks if task.needs_kept]
        if waiting and not any(task.keeps for task in self.tasks):
            reason = "no other task keeps what it asks for; a completion does"
            raise ConfigError("tasks", value=waiting[0], reason=reason)

    def _check_long_term(self) -> None:
        rows, read = self.run.stored_rows, self.memory.retrieved_tokens
        require(
            (rows > 0) == self.memory.has_long_term, "run.stored_rows", rows,
            f"memory.retrieved_tokens is {read}: a long-term memory and its reading go together",
        )  # fmt: skip
        least = max(read, self.memory.tokens_per_write)
        require(rows == 0 or rows >= least, "run.stored_rows", rows, f"it is below {least}")
        span = self.memory.span_rows
        require(rows % span == 0, "run.stored_rows", rows, f"whole spans of {span} rows are stored")
        layers = self.memory.long_term_layers
        require(
            layers is None or self.memory.retrieves_spans, "memory.long_term_layers", layers,
            "training retrieves single rows in every layer; use `retrieval: {kind: spans}`",
        )  # fmt: skip


def load_config(path: Path) -> TrainingConfig:
    """Read a run from a YAML file.

    Raises:
        NotFoundError, StorageError: the file is not there, or cannot be read.
        ConfigFileError: it is not YAML, or a field is unknown, missing, twice there, of the wrong
            kind or in contradiction to another.
    """
    return read_config_file(path, TrainingConfig)


def parse_config(text: str) -> TrainingConfig:
    """The same from YAML text.

    Raises:
        ConfigError: as ``load_config``.
    """
    return parse_config_text(text, TrainingConfig)
