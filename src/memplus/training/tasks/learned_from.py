"""How much a run learned from, counted alike whatever remembers.

M+ and the systems beside it learn from the same questions; what their records say can be compared
only where it is counted by one rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memplus.training.tasks.asked import Asked

__all__ = ["QUESTION_TOKENS", "LearnedFrom"]

QUESTION_TOKENS = "question_tokens"
"""The figure of a pass that says how many tokens its questions and answers have for each document,
on average over the documents of a process."""


class LearnedFrom:
    """Counts of a run so far, in all processes.

    Args:
        documents: of a batch, in all processes.
    """

    def __init__(self, documents: int) -> None:
        self._documents = documents
        self.counts = {"text_tokens": 0, QUESTION_TOKENS: 0, "questions": 0}
        """Tokens read as running text or told, tokens of questions with their answers (neither
        tails nor padding), and rows asked."""

    def add(
        self, text: int, asked: Asked | None, documents: int, figures: Mapping[str, float]
    ) -> None:
        """Count a pass.

        Args:
            text: tokens of each document that were read or told.
            asked: the rows of this process's documents, if it asked any.
            documents: of this process.
            figures: of the pass, averaged over processes.
        """
        self.counts["text_tokens"] += self._documents * text
        if asked is not None:
            self.counts[QUESTION_TOKENS] += round(self._documents * figures[QUESTION_TOKENS])
            self.counts["questions"] += self._documents * len(asked.ids) // documents
