"""What the sessions of one system of triples share: options, adapters, vectors of phrases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Generic, Literal, TypeVar

from torch import Tensor

from memplus.fields import CheckedFields
from memplus.mplus.core import Core
from memplus.systems.own_adapters import SHIPPED, OwnAdapters
from memplus.systems.shared import Shared
from memplus.systems.triples.vectors import PhraseVectors

__all__ = ["TripleOptions", "TripleTools"]


@dataclass(frozen=True)
class TripleOptions(CheckedFields):
    """Of every system of triples."""

    weights: str = ""
    """Folder of the trained adapters instead of those that come with memplus."""
    memory: Literal["on", "off"] = "on"
    """``off``: nothing that was told is found."""


Options = TypeVar("Options", bound=TripleOptions)


class TripleTools(ABC, Generic[Options]):
    """What is loaded once.

    Args:
        shared: the model.
        options: of the system.

    Raises:
        SystemWeightsError: an adapter is not there.
    """

    system: ClassVar[str]
    """Its name in the registry."""
    makes: ClassVar[tuple[str, ...]]
    """The commands that make the adapters, in their order."""
    vector_layers: ClassVar[int]
    """Layers of the decoder that a vector comes out of; fewer where there are not so many."""

    def __init__(self, shared: Shared, options: Options) -> None:
        self.shared = shared
        self.options = options
        self.adapters = self.adapters_for(options)
        self.adapters.require()

    @classmethod
    @abstractmethod
    def parts(cls, options: Options) -> tuple[str, ...]:
        """The adapters that are needed, by their folders in that of the weights."""

    @classmethod
    def adapters_for(cls, options: Options) -> OwnAdapters:
        """The adapters that are needed, whether they are there or not."""
        folder = Path(options.weights) if options.weights else SHIPPED / cls.system
        return OwnAdapters(cls.system, cls.makes, folder, cls.parts(options))

    @property
    @abstractmethod
    def answer_tokens(self) -> int:
        """Most tokens of an answer."""

    @abstractmethod
    def load(self) -> None:
        """Load what would be loaded at first use.

        Raises:
            SystemWeightsError: an adapter belongs to another model, or is damaged.
        """

    @property
    def core(self) -> Core:
        """The model."""
        return self.shared.mplus.core

    @cached_property
    def _vectors(self) -> PhraseVectors:
        return PhraseVectors(self.core, min(self.vector_layers, len(self.core.backbone.layers)))

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of phrases, [texts, d]."""
        return self._vectors(texts)
