"""A run that learns an adapter from examples, as frozen, checked values.

Read from YAML with ``kind: adapter`` at its top.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from memplus.backbone.lora import LoraSizes
from memplus.config import require
from memplus.fields import checked
from memplus.training.engine.common_config import STRICT, OptimizerConfig, RunSizes
from memplus.training.engine.config_file import part, parts, read_config_file
from memplus.training.masked.example import ExampleKind
from memplus.training.masked.registry import kind_from

__all__ = ["AdapterRunConfig", "MaskedRun", "load_adapter_config"]


@dataclass(frozen=True)
class MaskedRun(RunSizes):
    """Length, size of a step, precision and what is kept."""

    counts: ClassVar[tuple[str, ...]] = (*RunSizes.counts, "examples", "row_tokens")

    examples: int = 16
    """Examples of a step."""
    row_tokens: int = 256
    """Examples are put side by side into rows of about so many tokens; none sees another."""


def _sizes(raw: object) -> LoraSizes:
    return checked(LoraSizes, raw)


@dataclass(frozen=True)
class AdapterRunConfig:
    """A whole run."""

    __pydantic_config__ = STRICT

    kind: Literal["adapter"]
    """Tells it from a run that trains a model with memory."""
    base: str
    """The stock decoder: a name of `memplus models`, a directory or a hub id."""
    examples: Annotated[tuple[ExampleKind, ...], parts("examples", kind_from)]
    """What is learned, each entry drawn by its weight."""
    run: MaskedRun
    adapter: Annotated[LoraSizes, part("adapter", _sizes)] = field(default_factory=LoraSizes)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the base's weights; the adapter is trained in float32."""

    def __post_init__(self) -> None:
        kind = self.optimizer.kind
        require(kind == "adamw", "optimizer.kind", kind, "adapters are trained by adamw")
        require(bool(self.examples), "examples", (), "a run needs at least one kind of examples")
        require(
            self.dtype == "float32" or self.run.precision == "bfloat16",
            "run.precision", self.run.precision, f"dtype is {self.dtype}",
        )  # fmt: skip


def load_adapter_config(path: Path) -> AdapterRunConfig:
    """Read a run from a YAML file.

    Raises:
        NotFoundError, StorageError, ConfigFileError: see ``config_file.read_config_file``.
    """
    return read_config_file(path, AdapterRunConfig)
