"""MemLong behind the door of ``systems``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memplus.backbone.access import Backbone
from memplus.data.word_search import require_installed
from memplus.systems.embedder import embedder_name, missing_embedder
from memplus.systems.latent.system import Decode, LatentSystem
from memplus.systems.memlong.embedders import embedder_for
from memplus.systems.memlong.mechanism import MemLong
from memplus.systems.memlong.options import MemLongOptions
from memplus.systems.memlong.session import MemLongSession
from memplus.systems.shared import Shared

__all__ = ["MemLongSystem"]


class MemLongSystem(LatentSystem[MemLongOptions]):
    """Chunks of the past as one layer's keys and values, looked up by their text (2408.16967).

    Raises:
        LibraryMissingError: chunks are to be found by words or by static vectors, and the library
            for it is not installed.
        SystemWeightsError: see ``LatentSystem``.
    """

    registered = "memlong"
    called = "MemLong"
    options_type = MemLongOptions
    sessions = MemLongSession
    makes = (
        "memplus train --config configs/memlong/pieces.yaml",
        "memplus train --config configs/memlong/questions.yaml",
    )
    # What is looked for and how it is found, how much is read and kept, and what leaves may differ.
    trained_for = (
        "memory_layer", "retrieval_layers", "chunk", "segment", "gate", "positions", "rank",
        "alpha",
    )  # fmt: skip

    def __init__(self, shared: Shared, options: MemLongOptions | None = None) -> None:
        super().__init__(shared, options)
        self._vectors = embedder_name() if self.options.embedder == "static" else ""
        if self.options.embedder == "bm25":
            require_installed()

    @classmethod
    def missing(cls) -> str:
        """See ``SharedSystem.missing``; by default chunks are found by the static embedder."""
        return super().missing() or missing_embedder()

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``System.identity``; with the static embedder, where chunks are found by it."""
        found = super().identity
        return {**found, "embedder": self._vectors} if self._vectors else found

    @classmethod
    def build(cls, backbone: Backbone, options: MemLongOptions, decode: Decode) -> MemLong:
        """See ``LatentSystem.build``."""
        embedder = embedder_for(options.embedder, backbone.hidden_size, decode)
        return MemLong(backbone, options, embedder)
