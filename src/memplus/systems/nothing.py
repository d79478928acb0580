"""No memory: a model that keeps nothing of what it is told.

``nothing`` reads a memory that was never written to, ``bare`` is the stock model by itself. What
they answer right is not remembered: it is guessed, or known from training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memplus.fields import CheckedFields
from memplus.memory.state import Memory
from memplus.systems.protocol import ChatPrompt, Reply, Session, Text, pieces_of
from memplus.systems.shared import (
    READ_TOGETHER,
    Adapter,
    Alone,
    NoOptions,
    Shared,
    SharedSystem,
    answer_from_prompt,
)

__all__ = ["BareOptions", "BareSession", "BareSystem", "NothingSession", "NothingSystem"]


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
        pieces_of(text, source)  # refuses an empty one

    def flush(self) -> None:
        """Nothing waits."""

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``."""
        assert self.memory is not None
        if not questions:
            return []
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
    called = "no memory"
    options_type = NoOptions
    sessions: type[Session] = NothingSession
    questions_together = READ_TOGETHER
    remembers = False
    chunk_tokens = 1

    def open(self, seed: int) -> NothingSession:
        """See ``System.open``."""
        return NothingSession(self.shared, self.shared.mplus.new_memory(seed))


@dataclass(frozen=True)
class BareOptions(CheckedFields):
    """How the bare model reads."""

    adapter: Adapter = "none"
    """The plain base reads (``none``), or the model under its read adapter (``read``)."""


class BareSession(NothingSession):
    """Answers by the model alone.

    Args:
        shared: the model.
        adapter: under which it reads.
    """

    def __init__(self, shared: Shared, adapter: Adapter = "none") -> None:
        super().__init__(shared, None)
        self.adapter: Adapter = adapter
        self.alone = Alone(adapter)

    def ask(self, questions: Sequence[str], *, max_new_tokens: int | None = None) -> list[Reply]:
        """See ``Session.ask``; questions are read one by one."""
        prompts = [self.shared.prompt_ids(ChatPrompt(question)) for question in questions]
        return [
            answer_from_prompt(self.shared, ids, max_new_tokens, alone=self.alone)
            for ids in prompts
        ]

    def score(
        self, prompts: Sequence[str | ChatPrompt], options: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, int]]]:
        """See ``Scores.score``."""
        return self.shared.score(None, prompts, options, alone=self.alone)

    def fork(self) -> BareSession:
        """See ``Session.fork``."""
        return BareSession(self.shared, self.adapter)


class BareSystem(SharedSystem[BareOptions]):
    """The model without any memory, as if it had none."""

    registered = "bare"
    called = "bare model"
    options_type = BareOptions
    sessions: type[Session] = BareSession
    remembers = False
    chunk_tokens = 1

    def open(self, seed: int) -> BareSession:
        """See ``System.open``."""
        return BareSession(self.shared, self.options.adapter)
