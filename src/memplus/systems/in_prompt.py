"""No memory but the prompt: the text itself stands before every question.

What a model answers so is what it can do at all with a text; a memory of the same weights is
measured against it. The read adapter is active, as in a read of a memory, and no row is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from memplus.errors import EmptyTextError
from memplus.systems.protocol import Reply, Session, Text, pieces_of
from memplus.systems.shared import NoOptions, Shared, SharedSystem, ask_without_memory

__all__ = ["InPromptSession", "InPromptSystem"]

_BETWEEN = "\n\n"
"""Between the text and a question."""


class InPromptSession:
    """Keeps a text, and reads as much of its end as the model has positions for.

    Args:
        shared: the model.
        text: told so far.
        tokens: of that text.
    """

    def __init__(self, shared: Shared, text: str = "", tokens: int = 0) -> None:
        self.shared = shared
        self.text = text
        self.tokens = tokens

    @property
    def nbytes(self) -> int:
        """Bytes of the text."""
        return len(self.text.encode())

    def write(self, text: Text, source: str = "") -> None:
        """Keep a text.

        Raises:
            EmptyTextError: there is nothing to read.
        """
        pieces = pieces_of(text)
        if not any(pieces):
            raise EmptyTextError()
        self.tokens += len(self.shared.encode(pieces))
        self.text += "".join(pieces)

    def flush(self) -> None:
        """Nothing waits."""

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; questions are read one by one."""
        longest = max_new_tokens or self.shared.mplus.prompt.max_new_tokens
        return [
            ask_without_memory(self.shared, self._prompt(question, longest), longest)
            for question in questions
        ]

    def _prompt(self, question: str, longest: int) -> str:
        """The question behind the text, less of its beginning where all of it does not fit."""
        if not question.strip():
            raise EmptyTextError("The question")
        model = self.shared.mplus
        text = self.text.strip()
        while text:
            prompt = f"{text}{_BETWEEN}{question.strip()}"
            over = len(model.asker.encode(prompt)) + longest - model.core.positions
            if over <= 0:
                return prompt
            (ends,) = self.shared.reference([text])
            text = text[ends[over - 1] :].strip() if over <= len(ends) else ""
        return question

    def fork(self) -> InPromptSession:
        """See ``Session.fork``."""
        return InPromptSession(self.shared, self.text, self.tokens)


class InPromptSystem(SharedSystem[NoOptions]):
    """The model with the text in its prompt."""

    registered = "in_prompt"
    title = "text in the prompt"
    options_type = NoOptions
    sessions: type[Session] = InPromptSession
    remembers = True
    chunk_tokens = 1

    def open(self, seed: int) -> InPromptSession:
        """See ``System.open``."""
        return InPromptSession(self.shared)
