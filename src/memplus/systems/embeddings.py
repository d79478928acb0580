"""The passages whose vectors lie nearest to the question's, in the prompt.

Vectors come of a static embedder (``systems.embedder``), and are told apart by their cosine.

Shapes: n passages, d width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memplus.memory.checks import require_tensor
from memplus.systems.embedder import WIDTH, embedder, embedder_name, missing_embedder
from memplus.systems.passages_in_prompt import PassageOptions, PassageSystem
from memplus.systems.shared import Shared

__all__ = ["EmbeddingsSystem", "VectorIndex"]

_VECTORS = "vectors"


class VectorIndex:
    """Ranks passages by the cosine of their vectors and the question's.

    Args:
        rows: [d] of unit length, one of each passage.
    """

    def __init__(self, rows: Sequence[Tensor] = ()) -> None:
        self._rows = list(rows)
        self._matrix: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors."""
        return 4 * WIDTH * len(self._rows)

    def put(self, place: int, texts: Sequence[str]) -> None:
        """See ``Index.put``."""
        self._rows[place:] = embedder().embed(texts).unbind()
        self._matrix = None

    def scores(self, question: str) -> list[float]:
        """See ``Index.scores``: cosines, -1 to 1."""
        if self._matrix is None:
            self._matrix = self.tensors()[_VECTORS]
        found: list[float] = (self._matrix @ embedder().embed([question])[0]).tolist()
        return found

    def copy(self) -> VectorIndex:
        """See ``Index.copy``."""
        return VectorIndex(self._rows)

    def tensors(self) -> dict[str, Tensor]:
        """``vectors`` [n, d] float32."""
        return {_VECTORS: torch.stack(self._rows) if self._rows else torch.zeros(0, WIDTH)}

    def restore(self, texts: Sequence[str], tensors: Mapping[str, Tensor], path: Path) -> None:
        """See ``Index.restore``."""
        shape = len(texts), WIDTH
        self._rows = list(require_tensor(tensors, _VECTORS, path, (torch.float32,), shape).unbind())
        self._matrix = None


class EmbeddingsSystem(PassageSystem):
    """Vectors of passages.

    Raises:
        LibraryMissingError: wordllama is not installed.
    """

    registered = "embeddings"
    called = "embeddings"

    def __init__(self, shared: Shared, options: PassageOptions | None = None) -> None:
        self._embedder = embedder_name()
        super().__init__(shared, options)

    @classmethod
    def missing(cls) -> str:
        """See ``SharedSystem.missing``."""
        return missing_embedder()

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``System.identity``; with the embedder."""
        return {**super().identity, "embedder": self._embedder}

    def index(self) -> VectorIndex:
        """See ``PassageSystem.index``."""
        return VectorIndex()
