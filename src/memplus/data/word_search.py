"""BM25 over texts: which of them have the words of a question, rare ones before common ones.

It needs the library bm25s (``pip install "memplus[bm25]"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from memplus.errors import LibraryMissingError

__all__ = ["WordSearch", "best_of", "installed", "require_installed", "words_of"]

_LIBRARY, _EXTRA = "bm25s", "bm25"
_WORDS = r"(?u)\b\w+\b"


def installed() -> bool:
    """Whether the library is there."""
    return find_spec(_LIBRARY) is not None


def require_installed() -> None:
    """Say that the library is not there before anything needs it.

    Raises:
        LibraryMissingError: it is not.
    """
    if not installed():
        raise LibraryMissingError(_LIBRARY, extra=_EXTRA)


def words_of(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text in small letters, without the commonest ones of English."""
    import bm25s

    found: list[list[str]] = bm25s.tokenize(
        list(texts), token_pattern=_WORDS, stopwords="en", return_ids=False, show_progress=False
    )
    return found


class WordSearch:
    """Texts that can be ranked by the words of a question.

    Args:
        words: of each text.
    """

    def __init__(self, words: Sequence[Sequence[str]]) -> None:
        import bm25s

        self._count = len(words)
        self._ranking = None
        if any(words):  # the library knows no texts of which none has a word
            self._ranking = bm25s.BM25()
            self._ranking.index([list(one) for one in words], show_progress=False)

    def scores(self, words: Sequence[str]) -> list[float]:
        """How well each text fits, at least 0; 0 where it has no word in common.

        Args:
            words: of the question.
        """
        if self._ranking is None or not words:
            return [0.0] * self._count
        found: list[float] = self._ranking.get_scores(list(words)).tolist()
        return found


def best_of(scores: Sequence[float], count: int) -> list[int]:
    """Places of the best scores above 0, the best first; of equals the earlier."""
    ranked = sorted(range(len(scores)), key=lambda place: -scores[place])
    return [place for place in ranked[:count] if scores[place] > 0]
