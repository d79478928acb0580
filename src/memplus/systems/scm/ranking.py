"""Which turns of the stream are nearest to an input: relevance plus recency (2304.13343).

Knows vectors, words and numbers; no model.

Shapes: n turns, d numbers of a vector.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["centred_cosines", "cosines", "nearest", "recency", "word_scores"]

_FADES = 0.995
"""Recency of a turn, for each step of its age. The paper names no number."""
_SATURATION, _LENGTH = 1.5, 0.75
"""BM25's k1 and b."""
_WORD = re.compile(r"\w+")


def cosines(query: Tensor, vectors: Tensor) -> list[float]:
    """Cosine of the angle to every turn; 0 where a vector has no length.

    Args:
        query: [d].
        vectors: [n, d].
    """
    lengths = vectors.norm(dim=1) * query.norm()
    products = vectors @ query
    found = torch.where(lengths > 0, products / lengths.clamp(min=1e-30), torch.zeros_like(lengths))
    return [float(one) for one in found]


def centred_cosines(query: Tensor, vectors: Tensor) -> list[float]:
    """Cosines after the mean of the turns is taken off all vectors, the query's too.

    Hidden states of any two texts point nearly the same way; what tells them apart is the rest.

    Args:
        query: [d].
        vectors: [n, d].
    """
    mean = vectors.mean(dim=0)
    return cosines(query - mean, vectors - mean)


def word_scores(query: str, texts: Sequence[str]) -> list[float]:
    """BM25 of the query's words in every turn, as parts of the best one's: 0 to 1.

    Args:
        query: the input.
        texts: of the turns.
    """
    counts = [Counter(_words(text)) for text in texts]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
    scores = [0.0] * len(texts)
    for word in dict.fromkeys(_words(query)):
        holding = sum(word in count for count in counts)
        weight = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for place, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            long = _SATURATION * (1 - _LENGTH + _LENGTH * length / mean)
            scores[place] += weight * count[word] * (_SATURATION + 1) / (count[word] + long)
    best = max(scores, default=0.0)
    return [score / best if best else 0.0 for score in scores]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def recency(turns: int) -> list[float]:
    """0.995 to the power of the age in steps, for each of the turns before the last one.

    Args:
        turns: in the stream; the input would be the next one.
    """
    return [_FADES ** (turns - place) for place in range(turns - 1)]


def nearest(scores: Sequence[float], k: int) -> list[int]:
    """Places of the k highest scores, from the least of them to the highest.

    Of two that are equal the later turn counts as the nearer one.
    """
    order = sorted(range(len(scores)), key=lambda place: (scores[place], place))
    return order[-k:]
