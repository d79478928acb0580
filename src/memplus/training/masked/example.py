"""An example: a text in pieces, some of which are learned; and what makes examples.

A kind of examples is a frozen dataclass under ``ExampleKind`` in a file of its own, and one line in
``masked.registry``. Its fields are what a config may say of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Protocol

from memplus.training.engine.common_config import STRICT, require_weight

__all__ = ["Example", "ExampleKind", "ExampleMaker", "Piece"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of an example, tokenised by itself, as whoever generates it will see it."""

    text: str
    learned: bool = False
    """Whether its tokens are learned; the rest is given."""


@dataclass(frozen=True, slots=True)
class Example:
    """One text to learn from."""

    label: str
    """What it is an example of; its loss is reported as ``loss.LABEL``."""
    pieces: tuple[Piece, ...]
    """In order."""
    ends: bool = True
    """Whether the tokenizer's end of text follows, and is learned."""


class ExampleMaker(Protocol):
    """Makes examples."""

    def make(self, index: int, random: Random) -> Example:
        """One example; the same arguments give the same one.

        Args:
            index: how many examples the run has drawn before, those of other kinds counted.
            random: for everything that is drawn.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ExampleKind(ABC):
    """An entry of a config's ``examples``: ``{kind: KIND, weight: 1.0, ...}``."""

    __pydantic_config__ = STRICT

    kind: ClassVar[str]
    """Names it in a config."""

    weight: float = 1.0
    """How often it is drawn, beside the weights of the other entries."""

    def __post_init__(self) -> None:
        require_weight(self.weight)

    @abstractmethod
    def maker(self) -> ExampleMaker:
        """What makes the examples; files are read here, once for a run.

        Raises:
            MemplusError: a file cannot be used.
        """
