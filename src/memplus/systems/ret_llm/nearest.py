"""The texts whose vectors are nearest to a query's, without comparing with every one of many.

RET-LLM (2305.14322) keeps vectors in a locality-sensitive hash. Here a vector's hash is on which
side of 128 random planes it lies (16 planes in each of 8 groups, drawn from a fixed seed): two
vectors of a given cosine differ in a known share of signs. What may reach the least similarity by
its signs is compared exactly. Few texts are all compared.

Shapes: n texts, d width of a vector, b bytes of signs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["HASHED_ABOVE", "Nearest"]

HASHED_ABOVE = 20_000
"""Texts up to which all are compared."""
_PLANES, _GROUPS, _SEED = 16, 8, 2305
_SPREAD = 4.0
"""Standard deviations of the number of signs that differ, beyond its mean, that are looked at."""
_ONES = torch.tensor([bin(byte).count("1") for byte in range(256)], dtype=torch.uint8)
_PLACES = 2 ** torch.arange(8)


class Nearest:
    """Vectors that are looked through.

    Args:
        vectors: [n, d] float32.
        hashed_above: how many are compared one by one at most.
    """

    def __init__(self, vectors: Tensor, hashed_above: int = HASHED_ABOVE) -> None:
        self.vectors = functional.normalize(vectors, dim=-1)
        self._signs = None
        if len(vectors) > hashed_above:
            generator = torch.Generator().manual_seed(_SEED)
            width = vectors.shape[1]
            self._planes = torch.randn(width, _PLANES * _GROUPS, generator=generator)
            self._signs = self._hash(self.vectors)

    def _hash(self, vectors: Tensor) -> Tensor:
        """[n, b] uint8: the sides on which vectors lie."""
        sides = (vectors @ self._planes > 0).view(len(vectors), -1, 8)
        return (sides * _PLACES).sum(dim=-1).to(torch.uint8)

    def at_least(self, query: Tensor, similarity: float) -> list[tuple[float, int]]:
        """Cosine and place of every text that is so similar to a query [d], most similar first."""
        query = functional.normalize(query.float(), dim=-1)
        places = torch.arange(len(self.vectors))
        if self._signs is not None:
            differ = _ONES[(self._signs ^ self._hash(query[None])).int()].sum(dim=1)
            places = places[differ <= _most_signs(similarity)]
        cosines = self.vectors[places] @ query
        found = [
            (float(cosine), int(place))
            for cosine, place in zip(cosines, places, strict=True)
            if cosine >= similarity
        ]
        return sorted(found, key=lambda one: (-one[0], one[1]))


def _most_signs(similarity: float) -> int:
    """Signs in which a text of this similarity differs from the query, as good as always."""
    count = _PLANES * _GROUPS
    share = math.acos(max(-1.0, min(1.0, similarity))) / math.pi
    return math.ceil(count * share + _SPREAD * math.sqrt(count * share * (1 - share)))
