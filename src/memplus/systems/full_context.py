"""No memory but the prompt: all of the text stands before every question.

What a model answers so is what it can do at all with a text; a memory of the same weights is
measured against it. It reads under its read adapter, as in a read of a memory, unless told to
read by its plain base.
"""

from __future__ import annotations

from memplus.systems.text_in_prompt import TextOptions, TextSystem

__all__ = ["FullContextSystem"]


class FullContextSystem(TextSystem[TextOptions]):
    """The model with the text in its prompt, as far as the positions go."""

    registered = "full_context"
    called = "full context"
    options_type = TextOptions

    def readable(self, tokens: int) -> int:
        """See ``TextSystem.readable``: all of them."""
        return tokens
