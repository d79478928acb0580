"""No memory: a model that keeps nothing of what it is told.

``nothing`` reads a memory that was never written to, ``bare`` reads no memory at all. What they
answer right is not remembered: it is guessed, or known from training.
"""

from __future__ import annotations

from collections.abc import Sequence

from memplus.errors import EmptyTextError
from memplus.memory.state import Memory
from memplus.systems.protocol import ChatPrompt, Reply, Session, Text, pieces_of
from memplus.systems.shared import NoOptions, Shared, SharedSystem, ask_without_memory

__all__ = ["BareSession", "BareSystem", "NothingSession", "NothingSystem"]


class NothingSession:
    """Answers from a memory that was told nothing.

    Args:
        shared: the model.
        memory: never written to; None: the model reads no memory at all.
    """

    nbytes = 0
    """Nothing is kept of what is written."""
    tokens = 0

    def __init__(self, shared: Shared, memory: Memory | None) -> None:
        self.shared = shared
        self.memory = memory

    def write(self, text: Text, source: str = "") -> None:
        """Keep nothing of a text.

        Raises:
            EmptyTextError: there is nothing to read.
        """
        if not any(pieces_of(text)):
            raise EmptyTextError()

    def flush(self) -> None:
        """Nothing waits."""

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``."""
        assert self.memory is not None
        found = self.shared.mplus.asker.ask_together(self.memory, questions, max_new_tokens)
        return [
            Reply(text, self.shared.declines(text), generated)
            for text, generated in zip(found.texts, found.generated, strict=True)
        ]

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``."""
        return self.shared.score(self.memory, prompts, options)

    def fork(self) -> NothingSession:
        """See ``Session.fork``."""
        return NothingSession(self.shared, self.memory)


class NothingSystem(SharedSystem[NoOptions]):
    """The model as it is before anything was written."""

    registered = "nothing"
    title = "no memory"
    options_type = NoOptions
    sessions: type[Session] = NothingSession
    remembers = False
    chunk_tokens = 1

    def open(self, seed: int) -> NothingSession:
        """See ``System.open``."""
        return NothingSession(self.shared, self.shared.mplus.new_memory(seed))


class BareSession(NothingSession):
    """Answers by the model alone."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared, None)

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; questions are read one by one."""
        longest = max_new_tokens or self.shared.mplus.prompt.max_new_tokens
        return [ask_without_memory(self.shared, question, longest) for question in questions]

    def fork(self) -> BareSession:
        """See ``Session.fork``."""
        return BareSession(self.shared)


class BareSystem(NothingSystem):
    """The model without any memory, as if it had none."""

    registered = "bare"
    title = "bare model"
    sessions: type[Session] = BareSession

    def open(self, seed: int) -> BareSession:
        """See ``System.open``."""
        return BareSession(self.shared)
