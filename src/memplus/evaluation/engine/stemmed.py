"""Words in common after stemming, as LoCoMo's authors score answers (2402.17753, section 4.1).

Commas and punctuation are dropped, so are "a", "an", "the" and "and"; what is left is stemmed by
Porter's algorithm. Where an answer has several parts, each is looked for among the parts of what
was said, and the best matches are averaged.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

__all__ = ["parts_f1", "stemmed_f1"]

_NO_WORDS = re.compile(r"\b(?:a|an|the|and)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def stemmed_f1(said: str, answer: str) -> float:
    """Harmonic mean of the shares of stems in common, 0 to 1; 0 where one of them has no words."""
    mine, right = _stems(said), _stems(answer)
    common = sum((Counter(mine) & Counter(right)).values())
    return 2 * common / (len(mine) + len(right)) if common else 0.0


def parts_f1(said: str, answers: Sequence[str]) -> float:
    """Mean over the parts of an answer of the best match among what was said between commas.

    Args:
        said: parts are what stands between its commas.
        answers: the parts, all of which are wanted.
    """
    parts = said.split(",")
    best = [max(stemmed_f1(part, answer) for part in parts) for answer in answers]
    return sum(best) / len(best) if best else 0.0


def _stems(text: str) -> list[str]:
    bare = text.lower().translate(_PUNCTUATION)
    return [_stem(word) for word in _NO_WORDS.sub(" ", bare).split()]


@cache
def _stem(word: str) -> str:
    return str(_porter().stemWord(word))


@cache
def _porter() -> Any:
    """The library's stemmer: imported only where answers are scored by stems."""
    import snowballstemmer

    return snowballstemmer.stemmer("porter")
