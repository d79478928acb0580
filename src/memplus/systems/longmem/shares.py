"""Which chunks the tokens of an answer read, and how much of each.

Shapes: B rows, H query heads, n chunks that a head found for a token, a chunks of the bank.
"""

from __future__ import annotations

from torch import Tensor

from memplus.systems.latent.mechanism import Share
from memplus.systems.longmem.bank import Bank
from memplus.systems.longmem.retrieval import NO_CHUNK

__all__ = ["Account"]


class Account:
    """Adds up the attention that went to each chunk.

    Args:
        bank: whose chunks they are.
        rows: B.
    """

    def __init__(self, bank: Bank, rows: int) -> None:
        self._bank = bank
        self._paid: list[dict[int, float]] = [{} for _ in range(rows)]

    def add(self, index: Tensor, weights: Tensor) -> None:
        """What one token of each row paid.

        Args:
            index: [B, H, n] chunks.
            weights: [B, H, n] how much of each head's attention went there.
        """
        chunks, paid = index.flatten(1).tolist(), weights.flatten(1).tolist()
        for row, places, parts in zip(self._paid, chunks, paid, strict=True):
            for place, part in zip(places, parts, strict=True):
                if place != NO_CHUNK:
                    row[place] = row.get(place, 0.0) + part

    def shares(self) -> list[list[Share]]:
        """For each row the chunks that were read, most first; their parts add up to 1."""
        starts: list[int] = self._bank.starts.tolist()
        size = self._bank.shape.chunk_tokens
        found = []
        for row in self._paid:
            whole = sum(row.values()) or 1.0
            places = sorted(row, key=lambda place: (-row[place], place))
            found.append([Share(starts[p], starts[p] + size, row[p] / whole) for p in places])
        return found
