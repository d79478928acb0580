"""How many of a pass's rows ask for what, and what is told: the same whatever remembers it.

Numbers and names only: no tensors and no model.
"""

from __future__ import annotations

from dataclasses import dataclass

from memplus.config import require
from memplus.training.engine.common_config import STRICT
from memplus.training.tasks.question_texts import QuestionSource

__all__ = ["QuestionMix"]


@dataclass(frozen=True)
class QuestionMix:
    """What documents are told and asked; a task adds how much of it, and what remembers it."""

    __pydantic_config__ = STRICT

    sources: tuple[QuestionSource, ...] = ()
    """Where passages and questions come from."""
    asked: int = 10
    """Rows read for each document: questions, and pieces that are gone on with."""
    untold: float = 0.1
    """Share of them that ask for what was never told; the answer is the prompt's abstention."""
    continued: int = 1
    """Of each document's rows, pieces of what was written."""
    one_topic: float = 0.25
    """Share of documents whose passages are all of one article or story: look-alikes."""
    plain: float = 0.0
    """Share of passages that are stretches of the run's own texts, without questions."""
    tails: float = 0.0
    """Share of passes that leave up to ``tail_tokens`` unwritten, read before each question."""
    tail_tokens: int = 128
    forgets: float = 0.0
    """Share of passes that begin with empty memories."""
    earlier: float = 0.0
    """Share of the questions that ask for what earlier passes told, wherever it is by now."""
    corrected: float = 0.0
    """Share of the questions that ask for what was corrected, as long as something was."""
    corrects: int = 1
    """The most items of earlier passes that a document's pass corrects."""

    def check_mix(self) -> None:
        """Refuse shares that are none, and a pass that asks nothing.

        Raises:
            ConfigError: names the field.
        """
        require(bool(self.sources), "sources", self.sources, "there is nothing to ask about")
        require(self.asked >= 1, "asked", self.asked, "it must be at least 1")
        reason = f"{self.asked} rows are asked"
        require(0 <= self.continued <= self.asked, "continued", self.continued, reason)
        for name in ("untold", "one_topic", "plain", "tails", "forgets", "earlier", "corrected"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "it is a share")
        require(self.corrects >= 0, "corrects", self.corrects, "it must be at least 0")
        require(self.plain < 1, "plain", self.plain, "there is nothing to ask about")
        require(self.tail_tokens >= 1, "tail_tokens", self.tail_tokens, "it must be at least 1")
