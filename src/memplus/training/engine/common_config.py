"""Parts of a config that runs of every kind have in common; numbers and names only, no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict

from memplus.config import require
from memplus.training.engine.schedules import RateSchedule

__all__ = ["STRICT", "Architecture", "OptimizerConfig", "RunSizes", "require_weight"]

STRICT = ConfigDict(extra="forbid")
"""For ``__pydantic_config__``: a field that is not declared is refused."""

_LEAST_VOCABULARY = 258


def require_weight(weight: float) -> None:
    """Refuse a weight by which nothing can be drawn.

    Raises:
        ConfigError: it is not above 0, or has no end.
    """
    require(0 < weight < inf, "weight", weight, "it must be a number above 0")


@dataclass(frozen=True)
class Architecture:
    """Sizes of the Llama decoder that is made from nothing."""

    __pydantic_config__ = STRICT

    layers: int = 4
    hidden: int = 128
    heads: int = 4
    """Query heads, and as many key/value heads."""
    feed_forward: int = 384
    vocabulary: int = 2048
    """Of them 256 bytes, and what ends and pads texts."""
    positions: int = 4096

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "feed_forward", "positions"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        # Positions turn a head's numbers in pairs.
        fits = self.hidden % (2 * self.heads) == 0
        reason = f"it must be an even number for each of {self.heads} heads"
        require(fits, "hidden", self.hidden, reason)
        reason = f"at least {_LEAST_VOCABULARY}: every byte, and what ends and pads texts"
        require(self.vocabulary >= _LEAST_VOCABULARY, "vocabulary", self.vocabulary, reason)


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights move."""

    __pydantic_config__ = STRICT

    kind: Literal["adamw", "muon"] = "adamw"
    """``muon``: Muon for matrices and AdamW for the rest; for small models trained whole."""
    learning_rate: float = 1e-4
    """At the end of the warm-up."""
    weight_decay: float = 0.01
    """Of matrices."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    clip: float = 1.0
    """Largest norm of all gradients together."""
    schedule: RateSchedule = "linear"
    """How the learning rates fall after the warm-up."""
    warmup: int = 100
    """Steps over which they rise."""
    final: float = 0.1
    """What is left of them at the last step."""

    def __post_init__(self) -> None:
        def check(name: str, reason: str, *, ok: bool) -> None:
            require(ok, f"optimizer.{name}", getattr(self, name), reason)

        check("learning_rate", "above 0", ok=0 < self.learning_rate < inf)
        check("weight_decay", "at least 0", ok=0 <= self.weight_decay < inf)
        check("betas", "from 0 to below 1, both", ok=all(0 <= one < 1 for one in self.betas))
        check("clip", "above 0", ok=self.clip > 0)
        check("warmup", "at least 0", ok=self.warmup >= 0)
        check("final", "from 0 to 1", ok=0 <= self.final <= 1)


@dataclass(frozen=True)
class RunSizes:
    """Length, precision and what is kept: ``run`` of every config, which adds its own fields."""

    __pydantic_config__ = STRICT
    counts: ClassVar[tuple[str, ...]] = ("steps", "accumulate", "report", "checkpoint", "keep")
    """Fields that are at least 1."""

    out: Path
    """Folder of the run: checkpoints, ``metrics.jsonl``, and what was learned in ``final``."""
    steps: int
    """Updates of the weights."""
    seed: int = 0
    """Of the first weights and of everything that is drawn."""
    accumulate: int = 1
    """Passes over new texts or examples before an update."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16`` computes in 16 bits where that is safe."""
    report: int = 10
    """Steps between two lines of the log."""
    checkpoint: int = 50
    """Steps between two checkpoints."""
    keep: int = 2
    """Checkpoints kept."""
    tensorboard: bool = False
    """Write the log for TensorBoard too (``pip install "memplus[tensorboard]"``)."""

    def __post_init__(self) -> None:
        for name in self.counts:
            require(getattr(self, name) >= 1, f"run.{name}", getattr(self, name), "at least 1")
