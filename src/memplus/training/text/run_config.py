"""What a training run is made of, as frozen, checked values.

Read from YAML by ``config_file``; numbers and names only, no tensors. Every field is documented
here, and a contradiction between two fields is named before anything heavy is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from memplus.config import MemoryConfig
from memplus.errors import ConfigError
from memplus.training.engine.common_config import STRICT, Architecture, OptimizerConfig
from memplus.training.engine.schedules import Schedule
from memplus.training.tasks.retriever_config import RetrieverConfig

__all__ = [
    "DataConfig",
    "Kind",
    "ModelConfig",
    "RunConfig",
    "StreamConfig",
    "TaskConfig",
    "TrainingConfig",
]

Kind = Literal["completion", "repetition", "revisit", "language"]
_Steps = Annotated[Schedule, BeforeValidator(Schedule.parse)]


def _memory(given: Any) -> Any:
    return MemoryConfig.from_dict(given) if isinstance(given, dict) else given


def _require(ok: bool, name: str, value: object, reason: str) -> None:  # noqa: FBT001
    if not ok:
        raise ConfigError(name, value=value, reason=reason)


@dataclass(frozen=True)
class ModelConfig:
    """Which weights the run starts from: exactly one of the first three."""

    __pydantic_config__ = STRICT

    start: str | None = None
    """A model with memory: a directory (an earlier stage's ``final``), a name, or a hub id."""
    backbone: str | None = None
    """A stock decoder, directory or hub id, that is given a fresh memory."""
    fresh: Architecture | None = None
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
        _require(
            self.trainable == "all" or self.fresh is None,
            "model.trainable", self.trainable, "a fresh model has nothing else; use `all`",
        )  # fmt: skip


@dataclass(frozen=True)
class StreamConfig:
    """A named dataset, read with the `datasets` library (``pip install memplus[datasets]``)."""

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


@dataclass(frozen=True)
class DataConfig:
    """Texts: local files or a stream, cut at document boundaries."""

    __pydantic_config__ = STRICT

    texts: tuple[str, ...] = ()
    """Files or patterns: plain text, ``.gz``, ``.jsonl`` with a ``text`` field."""
    stream: StreamConfig | None = None
    """A dataset instead of files."""
    min_tokens: int = 64
    """Shorter documents are left out."""
    max_tokens: int = 65_536
    """Longer documents are cut into several."""
    cache: Path = Path(".memplus-cache")
    """Folder for tokenised texts, which are kept from run to run."""

    def __post_init__(self) -> None:
        _require(
            bool(self.texts) != (self.stream is not None),
            "data.stream", self.stream, "give either texts or a stream",
        )  # fmt: skip
        _require(self.min_tokens >= 2, "data.min_tokens", self.min_tokens, "at least 2")
        _require(
            self.max_tokens >= self.min_tokens,
            "data.max_tokens", self.max_tokens, f"it is below min_tokens ({self.min_tokens})",
        )  # fmt: skip


@dataclass(frozen=True)
class TaskConfig:
    """One task and its share of the steps (MemoryLLM section 3.2)."""

    __pydantic_config__ = STRICT

    task: Kind
    """``completion``: write chunks, predict what follows. ``repetition``: predict the chunks
    again. ``revisit``: predict what followed chunks written long ago. ``language``: predict plain
    text beside a memory that has nothing to do with it."""
    name: str = ""
    """In the log; the task by default."""
    weight: float = 1.0
    """Its share, relative to the other tasks."""
    chunks: _Steps = field(default_factory=lambda: Schedule.parse(1))
    """Chunks written one after another."""
    chunk_tokens: _Steps | None = None
    """Tokens of a chunk; the memory's own by default."""
    target_tokens: _Steps = field(default_factory=lambda: Schedule.parse(64))
    """Tokens predicted."""
    gradient_writes: int = 1
    """Gradients flow back through the last so many writes."""
    full_pool: float = 1.0
    """Share of its steps that read the whole memory; the others read the new rows alone, under
    the write adapter."""
    instruction: str = ""
    """Text before a repetition."""
    unscored: int = 0
    """First tokens of a repetition that are not scored: nothing says which chunk is meant."""

    def __post_init__(self) -> None:
        _require(self.weight > 0, "tasks.weight", self.weight, "it must be above 0")
        _require(0 <= self.full_pool <= 1, "tasks.full_pool", self.full_pool, "it is a share")
        _require(self.gradient_writes >= 0, "tasks.gradient_writes", self.gradient_writes, "< 0")
        _require(
            self.task == "repetition" or not (self.instruction or self.unscored),
            "tasks.instruction", self.instruction or self.unscored, "only a repetition has one",
        )  # fmt: skip
        _require(
            self.full_pool == 1 or self.task in ("completion", "repetition"),
            "tasks.full_pool", self.full_pool, f"a {self.task} writes nothing to read alone",
        )  # fmt: skip

    @property
    def label(self) -> str:
        """How the log calls it."""
        return self.name or self.task


@dataclass(frozen=True)
class RunConfig:
    """Length, order, precision and what is kept."""

    __pydantic_config__ = STRICT

    out: Path
    """Folder of the run: checkpoints, ``metrics.jsonl``, and the finished model in ``final``."""
    steps: int
    """Updates of the weights."""
    seed: int = 0
    """Of the order of texts, of tasks and of what is dropped."""
    documents: int = 1
    """Documents side by side, each with a memory of its own; processes divide them."""
    accumulate: int = 1
    """Passes over new documents before an update."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16`` computes in 16 bits where that is safe."""
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
    report: int = 10
    """Steps between two lines of the log."""
    checkpoint: int = 500
    """Steps between two checkpoints."""
    keep: int = 2
    """Checkpoints kept."""
    tensorboard: bool = False
    """Write the log for TensorBoard too (``pip install memplus[tensorboard]``)."""
    memory_gib: float | None = None
    """Memory to reckon with, in GiB per process, instead of what is found to be free."""

    def __post_init__(self) -> None:
        for name in ("steps", "documents", "accumulate", "report", "checkpoint", "keep"):
            _require(getattr(self, name) >= 1, f"run.{name}", getattr(self, name), "at least 1")
        share = self.revisit_renewal
        _require(0 < share <= 1, "run.revisit_renewal", share, "it is a share above 0")


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run."""

    __pydantic_config__ = STRICT

    model: ModelConfig
    memory: Annotated[MemoryConfig, BeforeValidator(_memory)]
    data: DataConfig
    tasks: tuple[TaskConfig, ...]
    run: RunConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    retriever: RetrieverConfig = field(default_factory=RetrieverConfig)

    def __post_init__(self) -> None:
        _require(bool(self.tasks), "tasks", (), "a run needs at least one task")
        labels = [task.label for task in self.tasks]
        for label in labels:
            _require(labels.count(label) == 1, "tasks.name", label, "two tasks are called so")
        self._check_chunks()
        self._check_long_term()
        _require(
            self.model.trainable == "all" or self.memory.adapters is not None,
            "memory.adapters", None, "model.trainable is `adapters`, but the memory has none",
        )  # fmt: skip
        _require(
            self.model.dtype == "float32" or self.run.precision == "bfloat16",
            "run.precision", self.run.precision, f"model.dtype is {self.model.dtype}",
        )  # fmt: skip
        _require(
            self.optimizer.kind == "adamw" or not self.run.sharded,
            "optimizer.kind", self.optimizer.kind, "it needs whole matrices, not run.sharded",
        )  # fmt: skip

    def _check_chunks(self) -> None:
        least = self.memory.tokens_per_write
        for task in self.tasks:
            low = task.chunk_tokens.lowest if task.chunk_tokens else self.memory.chunk_tokens
            _require(low >= least, "tasks.chunk_tokens", low, f"a write makes {least} rows of it")
            _require(task.target_tokens.lowest >= 2, "tasks.target_tokens", 1, "nothing to predict")
            shortest = task.target_tokens.lowest
            _require(
                task.unscored < shortest, "tasks.unscored", task.unscored,
                f"the shortest target has {shortest} tokens",
            )  # fmt: skip
        if all(task.task == "revisit" for task in self.tasks):
            reason = "without a completion there is nothing to revisit"
            raise ConfigError("tasks", value="revisit", reason=reason)
        revisits = any(task.task == "revisit" for task in self.tasks)
        completes = any(task.task == "completion" for task in self.tasks)
        _require(completes or not revisits, "tasks", "revisit", "only a completion is revisited")

    def _check_long_term(self) -> None:
        rows, read = self.run.stored_rows, self.memory.retrieved_tokens
        _require(
            (rows > 0) == self.memory.has_long_term, "run.stored_rows", rows,
            f"memory.retrieved_tokens is {read}: a long-term memory and its reading go together",
        )  # fmt: skip
        least = max(read, self.memory.tokens_per_write)
        _require(rows == 0 or rows >= least, "run.stored_rows", rows, f"it is below {least}")
