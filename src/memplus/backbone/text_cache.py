"""What a model computed for the first tokens of a text, kept so that many texts go on from it.

Shapes: L layers, H key/value heads, S tokens, D head width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from torch import Tensor
from transformers import DynamicCache

__all__ = ["TextCache", "in_common"]


@dataclass(frozen=True)
class TextCache:
    """Keys and values of a text's first tokens. It never changes: what goes on from it copies."""

    ids: tuple[int, ...] = ()
    """S token ids."""
    layers: tuple[tuple[Tensor, Tensor], ...] = ()
    """L pairs of keys and values, rotated, [1, H, S, D] each; none where there are no tokens."""

    @classmethod
    def of(cls, ids: Iterable[int], cache: DynamicCache) -> TextCache:
        """What a pass over these tokens left in a cache of the model library."""
        return cls(tuple(ids), tuple((keys, values) for keys, values, _ in cache))

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values."""
        return sum(one.nbytes for layer in self.layers for one in layer)

    def shared(self, ids: Sequence[int]) -> int:
        """How many tokens a text has from here: all it begins with, but for its last token.

        A pass needs a token to read, so the last one is never taken from here.
        """
        return max(0, min(in_common(self.ids, ids), len(ids) - 1))

    def begun(self, count: int) -> DynamicCache:
        """A cache of the model library with the first ``count`` tokens, to go on with."""
        if not count:
            return DynamicCache()
        return DynamicCache(
            [(keys[:, :, :count], values[:, :, :count]) for keys, values in self.layers]
        )


def in_common(*texts: Sequence[int]) -> int:
    """With how many equal tokens all of the texts begin."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*texts)))
