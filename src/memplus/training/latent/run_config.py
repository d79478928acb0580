"""A run that learns the weights of a system that remembers in vectors, as frozen, checked values.

Read from YAML with ``kind: system`` at its top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from memplus.config import PromptConfig, require
from memplus.errors import ConfigError
from memplus.fields import checked
from memplus.systems.latent.system import LatentOptions, LatentSystem
from memplus.systems.registry import SYSTEMS, system_class
from memplus.training.engine.common_config import STRICT, OptimizerConfig, RunSizes
from memplus.training.engine.config_file import named_under, part, parts, read_config_file
from memplus.training.latent.registry import task_from
from memplus.training.latent.task import LatentTask
from memplus.training.text.run_config import DataConfig

__all__ = ["SystemOptimizer", "SystemRunConfig", "SystemRunSizes", "load_system_config"]


@dataclass(frozen=True)
class SystemOptimizer(OptimizerConfig):
    """How weights move."""

    adapter_rate: float | None = None
    """Learning rate of low-rank updates of the decoder; None: that of everything else."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rate = self.adapter_rate
        require(rate is None or 0 < rate < inf, "optimizer.adapter_rate", rate, "above 0")


@dataclass(frozen=True)
class SystemRunSizes(RunSizes):
    """Length, order, precision and what is kept."""

    counts: ClassVar[tuple[str, ...]] = (*RunSizes.counts, "documents")

    documents: int = 1
    """Documents side by side, each with a state of its own; processes divide them."""


@dataclass(frozen=True)
class SystemRunConfig:
    """A whole run."""

    __pydantic_config__ = STRICT

    kind: Literal["system"]
    """Tells it from a run that trains a model with memory."""
    system: str
    """Whose weights are learned: a name of the registry of systems."""
    base: str
    """The stock decoder: a name of `memplus models`, a directory or a hub id."""
    data: DataConfig
    tasks: Annotated[tuple[LatentTask, ...], parts("tasks", task_from)]
    run: SystemRunSizes
    options: Mapping[str, Any] = field(default_factory=dict)
    """The system's own, by name: its sizes, and what of it is left out."""
    start: Path | None = None
    """Folder of the weights to begin with: an earlier stage's ``final``."""
    prompt: Annotated[PromptConfig, part("prompt", PromptConfig.from_dict)] = field(
        default_factory=PromptConfig
    )
    """How questions are put."""
    optimizer: SystemOptimizer = field(default_factory=SystemOptimizer)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the base's weights; what is trained is kept in float32."""

    def __post_init__(self) -> None:
        known = self.system_class.options_type
        with named_under("options"):
            for name, value in self.options.items():
                there = [one.name for one in fields(known) if one.name != "weights"]
                reason = f"there is no such option; there are {', '.join(there)}"
                require(name != "weights", name, value, "give `start` instead")
                require(name in there, name, value, reason)
            checked(known, self.options)
        kind = self.optimizer.kind
        require(kind == "adamw", "optimizer.kind", kind, "these weights are trained by adamw")
        require(bool(self.tasks), "tasks", (), "a run needs at least one task")
        labels = [task.label for task in self.tasks]
        for index, one in enumerate(labels):
            require(labels.count(one) == 1, f"tasks.{index}.name", one, "two tasks are called so")
        require(
            self.dtype == "float32" or self.run.precision == "bfloat16",
            "run.precision", self.run.precision, f"dtype is {self.dtype}",
        )  # fmt: skip

    @property
    def system_class(self) -> type[LatentSystem[Any]]:
        """The system's class.

        Raises:
            ConfigError: there is no such system, or it has no weights of this kind.
        """
        found = system_class(self.system) if self.system in SYSTEMS else None
        if found is None or not issubclass(found, LatentSystem):
            reason = "it is no system that remembers in vectors, with weights to train"
            raise ConfigError("system", value=self.system, reason=reason)
        kind: type[LatentSystem[Any]] = found
        return kind

    @property
    def system_options(self) -> LatentOptions:
        """The options as the system takes them."""
        made: LatentOptions = checked(self.system_class.options_type, self.options)
        return made


def load_system_config(path: Path) -> SystemRunConfig:
    """Read a run from a YAML file.

    Raises:
        NotFoundError, StorageError, ConfigFileError: see ``config_file.read_config_file``.
    """
    return read_config_file(path, SystemRunConfig)
