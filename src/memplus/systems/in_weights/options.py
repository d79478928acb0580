"""How a text is trained into weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memplus.config import require
from memplus.fields import CheckedFields

__all__ = ["Framing", "InWeightsOptions"]

Framing = Literal["plain", "message"]


@dataclass(frozen=True)
class InWeightsOptions(CheckedFields):
    """How much is trained, and for how long."""

    rank: int = 16
    """Of the update of each linear layer."""
    alpha: int = 32
    """The update is multiplied by alpha / rank."""
    epochs: int = 5
    """How often every piece of a text is learned, as published."""
    learning_rate: float = 1e-3
    """At first; it falls to nothing by a cosine."""
    piece_tokens: int = 256
    """Most tokens of a piece, which is one step; fewer where the model has fewer positions."""
    framing: Framing = "plain"
    """A piece is learned as running text, or (``message``, as published) as what a user says,
    behind a request to read it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rank", "alpha", "epochs"):
            value = getattr(self, name)
            require(value >= 1, name, value, "it must be at least 1")
        rate = self.learning_rate
        require(rate > 0, "learning_rate", rate, "it must be above 0")
        size, reason = self.piece_tokens, "it must be at least 2: the first one is given"
        require(size >= 2, "piece_tokens", size, reason)
