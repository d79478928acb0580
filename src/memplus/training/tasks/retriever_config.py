"""How the retriever learns, as checked values; numbers and names only, no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from memplus.config import require
from memplus.training.engine.common_config import STRICT

__all__ = ["RetrieverConfig"]

_OF_ROWS = (
    *("loss", "negative_weight", "penalty", "random_query", "detach"),
    *("scored_stored", "fresh_keys"),
)
_OF_SPANS = ("forced",)


@dataclass(frozen=True)
class RetrieverConfig:
    """How the retriever learns beside the model (M+ section 3.3)."""

    __pydantic_config__ = STRICT

    learning_rate: float = 1e-4
    """Of f_q and f_k alone."""
    weight: float = 1.0
    """Of its loss beside that of the text."""
    loss: Literal["binary", "ranking"] = "binary"
    """Binary cross-entropy of single rows, or right rows ranked above all wrong ones."""
    negative_weight: float = 1.0
    """Weight of wrong rows; right ones have 1 (binary)."""
    penalty: float = 0.001
    """Weight of s(1 - s), which drives scores s towards 0 and 1 (binary)."""
    temperature: float = 0.015
    """Scores are divided by it (ranking, and spans)."""
    random_query: bool = True
    """Only the first so many tokens ask, a number drawn each time."""
    detach: bool = True
    """The loss moves the retriever alone, not the model that feeds it."""
    scored_stored: int = 4096
    """Most rows of the long-term memory that one loss covers; right rows come first."""
    forced: float = 0.5
    """Share of questions that retrieve the right spans whatever their scores (spans)."""
    fresh_keys: bool = False
    """Compute stored keys anew at every read instead of keeping those of the drop."""

    def __post_init__(self) -> None:
        def check(name: str, reason: str, *, ok: bool) -> None:
            require(ok, f"retriever.{name}", getattr(self, name), reason)

        for name in ("learning_rate", "weight", "negative_weight", "penalty"):
            check(name, "at least 0", ok=0 <= getattr(self, name) < inf)
        check("temperature", "above 0", ok=0 < self.temperature < inf)
        check("scored_stored", "at least 1", ok=self.scored_stored >= 1)
        check("forced", "it is a share", ok=0 <= self.forced <= 1)

    def check(self, *, spans: bool) -> None:
        """Refuse what would do nothing.

        Args:
            spans: whether spans are retrieved, not rows.

        Raises:
            ConfigError: names the field.
        """
        usual, what = RetrieverConfig(), "spans" if spans else "single rows"
        for name in _OF_ROWS if spans else _OF_SPANS:
            value = getattr(self, name)
            reason = f"it does nothing where {what} are retrieved; leave it out"
            require(value == getattr(usual, name), f"retriever.{name}", value, reason)
