"""What a training run is made of, as frozen, checked values read from a TOML file.

This room's plain part: numbers and names, no tensors.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from memplus.config import MemoryConfig
from memplus.errors import ConfigError
from memplus.training.engine.common_config import Architecture

__all__ = ["Optimizing", "Recipe", "Stage", "load_recipe"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Optimizing:
    """Optimizer and loss weights, the same in all stages."""

    learning_rate: float = 2e-3
    warmup: int = 150
    """Steps until the learning rate is reached."""
    cooldown: int = 300
    """Last steps of the run, over which it falls to a tenth."""
    retrieval: float = 0.2
    """Weight of the retriever's loss."""
    temperature: float = 0.015
    """Scores are divided by this in the retriever's loss."""
    scored: int = 48
    """Questions per step that the retriever's loss covers."""
    tail: float = 0.4
    """Share of steps whose questions follow text that is not yet written."""
    easier: float = 0.3
    """Share of steps taken from an earlier stage."""
    known_subject: float = 0.0
    """Of the questions about what was never told, how many ask for a subject of the step."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What matrix products compute in; weights and optimizers stay in fp32."""


@dataclass(frozen=True)
class Stage:
    """One stage: how much is written before the questions, and how it is read."""

    name: str
    documents: int = 32
    """Documents written side by side."""
    chunks: int = 1
    """Chunks of each, written one after another."""
    group: int = 1
    """Documents that share a short-term pool; divides ``documents``."""
    questions: int = 6
    """Questions to each group, drawn with repetition."""
    notes: tuple[int, ...] = (1, 1, 2, 2, 3, 4)
    """Notes per chunk: each draw is as likely."""
    paragraphs: float = 0.0
    """Share of documents whose notes stand one after another."""
    corrected: float = 0.0
    """Notes per document that the same or a later document of the group corrects."""
    namesakes: float = 0.0
    """Share of chunks' notes, and of questions about nobody, whose subjects are near namesakes."""
    abstain: float = 0.12
    """Share of questions about what was never told."""
    abstain_weight: float = 0.5
    """Weight of their tokens in the answer loss."""
    retrieves: bool = False
    """Pools are cut to N rows as writes would have cut them, and M others are retrieved."""
    far: float = 0.0
    """Share of questions about another group's notes, within reach of the retriever alone."""
    forced: float = 0.5
    """Share of questions whose right rows are retrieved whatever their scores."""
    earlier: int = 0
    """Steps whose rows stay in the long-term memory, as distractors."""
    repeat: float = 0.5
    """Weight of repeating a chunk from memory."""
    language: float = 0.1
    """Weight of plain language modelling, on the chunks and on what is not yet written."""
    advance: float = 0.88
    """Running accuracy that ends the stage; 2 for the last one, which ends with the run."""

    def __post_init__(self) -> None:
        if self.documents % self.group:
            raise ConfigError("group", value=self.group, reason="it does not divide documents")


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    memory: MemoryConfig
    architecture: Architecture
    optimizing: Optimizing
    stages: tuple[Stage, ...]


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ConfigError: a table or a field is unknown or holds what it cannot.
    """
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    for name in raw:
        if name not in ("memory", "architecture", "optimizing", "stages"):
            raise ConfigError(name, value=raw[name], reason="there is no such table")
    return Recipe(
        MemoryConfig.from_dict(raw["memory"]),
        _make(Architecture, raw.get("architecture", {})),
        _make(Optimizing, raw.get("optimizing", {})),
        tuple(_make(Stage, one) for one in raw["stages"]),
    )


def _make(kind: type[_T], values: Mapping[str, Any]) -> _T:
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ConfigError(name, value=values[name], reason="there is no such field")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
