"""What a memory is told and keeps: records of writes, new rows, and the model they belong to.

Shapes: L layers, k new rows, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from memplus.config import MemoryConfig

__all__ = ["MemoryOwner", "NewRows", "Passage", "RowBytes", "SavedFile", "WriteRecord"]


@dataclass(frozen=True)
class WriteRecord:
    """One write: which tokens of which source became rows with this id."""

    id: int
    """From 1; 0 stands for the rows that came with the model."""
    source: str
    start: int
    """First token, counted from the beginning of the source."""
    tokens: int
    """How many tokens the write took in."""


@dataclass(frozen=True)
class Passage:
    """What one write took in."""

    tokens: tuple[int, ...]
    text: str
    """Empty where it is not known."""


@dataclass(frozen=True)
class NewRows:
    """What a write pass made: hidden vectors and what is kept of them."""

    hidden: Tensor
    """[L, k, d]."""
    columns: Mapping[str, Tensor]
    """Column name -> [L, k, ...] (``passes.rows``)."""
    long_term: tuple[str, ...]
    """The columns that go to the long-term memory."""


@dataclass(frozen=True)
class SavedFile:
    """The file that a memory was loaded from or saved to last."""

    path: Path
    """Absolute."""
    digest: str
    """What tells its content from any other."""


@dataclass(frozen=True)
class RowBytes:
    """Bytes that one row takes, all layers together."""

    short_term: int
    """In the short-term pool, bookkeeping included."""
    long_term: int
    """In the long-term memory, bookkeeping included."""
    recent: int
    """As a hidden vector among the newest."""
    common: int = 0
    """What all long-term rows have in common, once, where they are packed."""


class MemoryOwner(Protocol):
    """What a memory must know of its model: what the model is, and nothing that it can do."""

    @property
    def fingerprint(self) -> str:
        """Tells these weights, this read adapter and this config from any others."""
        ...

    def fingerprint_of(self, config: MemoryConfig) -> str:
        """``fingerprint`` with the M of another config: reads may retrieve more rows or fewer."""
        ...

    @property
    def memory_config(self) -> MemoryConfig:
        """Sizes and rules of its memories."""
        ...

    @property
    def device(self) -> torch.device:
        """Where rows are kept."""
        ...

    @property
    def weights_version(self) -> int:
        """Differs after a change of weights or adapters that a look at a few numbers shows."""
        ...

    def check_weights(self) -> None:
        """Look at every bit of the weights; what else is asked here then holds for this moment."""
        ...

    def changed_since(self, version: int) -> str:
        """What differs from the weights of an earlier ``weights_version``, in words."""
        ...

    @property
    def row_shape(self) -> tuple[int, int, torch.dtype]:
        """Layers L, hidden size d and dtype of the hidden vectors that a write makes."""
        ...

    @property
    def vocabulary(self) -> int:
        """Token ids lie below it."""
        ...

    @property
    def name(self) -> str:
        """What the model is called."""
        ...
