"""A recipe: stages of a run on questions about notes, as frozen, checked values.

Read from YAML; numbers and names only, no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from memplus.config import MemoryConfig, require
from memplus.fields import checked
from memplus.training.engine.common_config import STRICT, Architecture
from memplus.training.engine.config_file import part, parts, read_config_file

__all__ = ["Optimizing", "Recipe", "Stage", "load_recipe"]


@dataclass(frozen=True)
class Optimizing:
    """Optimizer and loss weights, the same in all stages."""

    __pydantic_config__ = STRICT

    learning_rate: float = 2e-3
    warmup: int = 150
    """Steps until the learning rate is reached."""
    cooldown: float = 300
    """Last steps of the run, over which it falls to a tenth; below 1 as a share of the run."""
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
    other_names: float = 0.0
    """Share of notes about people whose names come from books or from invented languages."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What matrix products compute in; weights and optimizers stay in fp32."""


@dataclass(frozen=True)
class Stage:
    """One stage: how much is written before the questions, and how it is read."""

    __pydantic_config__ = STRICT

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
    crowded: float = 0.0
    """Share of groups of which all documents hold notes of one attribute side by side and little
    else; all such groups of a step have the same attribute."""
    plain: float = 0.0
    """Share of groups whose documents hold no note, so that nothing can be answered of them."""
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
        divides = self.group >= 1 and self.documents % self.group == 0
        require(divides, "group", self.group, "it does not divide documents")


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    __pydantic_config__ = STRICT

    memory: Annotated[MemoryConfig, part("memory", MemoryConfig.from_dict)]
    architecture: Annotated[Architecture, part("architecture", partial(checked, Architecture))] = (
        field(default_factory=Architecture)
    )
    optimizing: Optimizing = field(default_factory=Optimizing)
    stages: Annotated[tuple[Stage, ...], parts("stages", partial(checked, Stage))] = ()

    def __post_init__(self) -> None:
        require(bool(self.stages), "stages", self.stages, "a recipe needs at least one stage")
        layers, reason = self.memory.long_term_layers, "the recipe retrieves in every layer"
        require(layers is None, "memory.long_term_layers", layers, reason)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from a YAML file.

    Raises:
        NotFoundError, StorageError: the file is not there, or cannot be read.
        ConfigFileError: a field is unknown, missing, twice there or holds what it cannot.
    """
    return read_config_file(path, Recipe)
