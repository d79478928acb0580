"""What a table of triples holds, as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

__all__ = ["Column", "Embed", "Origin", "Row", "Texts", "Triple", "Update"]

Column = Literal["subject", "relation", "object", "entity"]
"""A column of the table; ``entity`` is the first and the last together."""
Update = Literal["add", "replace"]
"""What becomes of older objects of the same subject and relation when a new one is written."""
Embed = Callable[[Sequence[str]], Tensor]
"""Texts -> their vectors, [texts, d] float32."""


class Triple(NamedTuple):
    """A fact: something stands in a relation to something."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True, slots=True)
class Origin:
    """A write that said a triple."""

    source: str
    write: int
    """Its number, counted from 1 over all sources of the table."""
    start: int = 0
    """First token of what was read, from the beginning of its source."""
    end: int = 0
    """The token after its last one."""


@dataclass(frozen=True, slots=True)
class Row:
    """A triple as it is stored: once, whoever said it."""

    id: int
    """Rises with the order of first writing; not kept by saving, the order is."""
    triple: Triple
    origins: tuple[Origin, ...]
    """The writes that said it, the oldest first."""

    @property
    def written(self) -> int:
        """Number of the newest write that said it."""
        return self.origins[-1].write


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a column and their vectors, in order of first writing."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    vectors: Tensor
    """[texts, d] float32, as ``embed`` gave them."""
