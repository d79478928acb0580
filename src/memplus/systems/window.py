"""The last tokens of the text before every question: what a model reads that looks back so far."""

from __future__ import annotations

from dataclasses import dataclass

from memplus.config import require
from memplus.systems.text_in_prompt import TextOptions, TextSystem

__all__ = ["WindowOptions", "WindowSystem"]


@dataclass(frozen=True)
class WindowOptions(TextOptions):
    """How far back a window goes."""

    tokens: int = 2048
    """Of the text, in the prompt."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.tokens >= 1, "tokens", self.tokens, "it must be at least 1")


class WindowSystem(TextSystem[WindowOptions]):
    """The model with the end of the text in its prompt."""

    registered = "window"
    called = "window"
    options_type = WindowOptions

    def readable(self, tokens: int) -> int:
        """See ``TextSystem.readable``: the last ones."""
        return min(tokens, self.options.tokens)
