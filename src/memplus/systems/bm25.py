"""The passages that share the question's words, in the prompt: retrieval by words alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from memplus.data.word_search import WordSearch, installed, require_installed, words_of
from memplus.systems.passages_in_prompt import PassageOptions, PassageSystem
from memplus.systems.shared import Shared

__all__ = ["BM25System", "WordIndex"]


class WordIndex:
    """Ranks passages by BM25; its statistics are made anew when it is first asked after a write.

    Args:
        words: of each passage.
    """

    nbytes = 0
    """Words follow from the passages."""

    def __init__(self, words: Sequence[list[str]] = ()) -> None:
        self._words = list(words)
        self._search: WordSearch | None = None

    def put(self, place: int, texts: Sequence[str]) -> None:
        """See ``Index.put``."""
        self._words[place:] = words_of(texts)
        self._search = None

    def scores(self, question: str) -> list[float]:
        """See ``Index.scores``."""
        if self._search is None:
            self._search = WordSearch(self._words)
        return self._search.scores(words_of([question])[0])

    def copy(self) -> WordIndex:
        """See ``Index.copy``."""
        return WordIndex(self._words)

    def tensors(self) -> dict[str, Tensor]:
        """See ``Index.tensors``."""
        return {}

    def restore(self, texts: Sequence[str], tensors: Mapping[str, Tensor], path: Path) -> None:
        """See ``Index.restore``."""
        self.put(0, texts)


class BM25System(PassageSystem):
    """BM25 over passages.

    Raises:
        LibraryMissingError: bm25s is not installed.
    """

    registered = "bm25"
    called = "BM25"

    def __init__(self, shared: Shared, options: PassageOptions | None = None) -> None:
        require_installed()
        super().__init__(shared, options)

    @classmethod
    def missing(cls) -> str:
        """See ``SharedSystem.missing``."""
        return "" if installed() else 'bm25s: pip install "memplus[bm25]"'

    def index(self) -> WordIndex:
        """See ``PassageSystem.index``."""
        return WordIndex()
