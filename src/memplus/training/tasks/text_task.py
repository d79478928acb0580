"""What tasks on running text have in common: their fields, and how the sizes of a pass are drawn.

A task derives from ``WritingTask`` where it writes chunks, and from ``TextTask`` where it only
reads. Numbers and names only, no tensors: a config is checked before torch is loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator

from memplus.config import MemoryConfig, require
from memplus.errors import ConfigError
from memplus.training.engine.common_config import STRICT, require_weight
from memplus.training.engine.schedules import Schedule
from memplus.training.tasks.protocol import (
    NOTHING,
    Draw,
    Job,
    KeptTarget,
    Plan,
    Sizes,
    Target,
    Texts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from memplus.training.tasks.question_texts import QuestionSource

__all__ = ["Steps", "TextTask", "WritingTask"]

Steps = Annotated[Schedule, BeforeValidator(Schedule.parse)]
"""A whole number, a range or a table of them by step, as a config writes it."""


@dataclass(frozen=True)
class TextTask(ABC):
    """A task that writes nothing and reads the whole memory."""

    __pydantic_config__ = STRICT
    kind: ClassVar[str]
    keeps: ClassVar[bool] = False
    needs_kept: ClassVar[bool] = False
    retrieves_rows: ClassVar[bool] = True
    """Whether its reads retrieve single rows, in every layer by itself."""

    name: str = ""
    """In the log; the kind of task by default."""
    weight: float = 1.0
    """Its share of the steps, relative to the other tasks."""
    target_tokens: Steps = field(default_factory=lambda: Schedule.parse(64))
    """Tokens predicted."""

    def __post_init__(self) -> None:
        require_weight(self.weight)
        shortest = self.target_tokens.lowest
        require(shortest >= 2, "target_tokens", shortest, "the first token is not predicted")

    @property
    def label(self) -> str:
        """How the log calls it."""
        return self.name or self.kind

    @property
    def question_sources(self) -> Sequence[QuestionSource]:
        """None: it asks nothing."""
        return ()

    def check(self, memory: MemoryConfig) -> None:
        """Refuse a memory of which spans are retrieved, where this task's reads retrieve rows."""
        spans = memory.has_long_term and memory.retrieves_spans
        reason = f"`{self.kind}` retrieves single rows; use the task questions for spans"
        require(not (self.retrieves_rows and spans), "task", self.kind, reason)

    def largest(self, memory: MemoryConfig) -> Sizes:
        """The largest pass of the run."""
        return Sizes(0, memory.chunk_tokens, self.target_tokens.highest)

    def passes(self, memory: MemoryConfig) -> Sequence[Sizes]:
        """The largest pass of each kind; there is one kind."""
        return (self.largest(memory),)

    def plan(self, draw: Draw) -> Plan:
        """Draw the sizes of a pass.

        Raises:
            ConfigError: no document is long enough.
        """
        sizes = self.sizes(draw)
        query = sizes.target_tokens
        if draw.random_query:
            query = draw.random.randint(1, query)
        # Every task draws as often, so that one's fields do not change what another one draws.
        whole = self.reads_whole(draw.random.random())
        renewed = draw.random.random() < draw.renewal
        return Plan(self, draw.step, draw.part, sizes, whole, query, renewed)

    def sizes(self, draw: Draw) -> Sizes:
        """How much is written and read.

        Raises:
            ConfigError: no document is long enough.
        """
        target = self.target_tokens.draw(draw.step, draw.random)
        self.require_room(target <= draw.longest, target, draw)
        return Sizes(0, draw.memory.chunk_tokens, target)

    def require_room(self, ok: bool, target: int, draw: Draw) -> None:  # noqa: FBT001
        """Refuse a target that no document is long enough for."""
        if not ok:
            reason = f"the longest document has {draw.longest} tokens"
            raise ConfigError(f"tasks.{self.label}.target_tokens", value=target, reason=reason)

    def reads_whole(self, lot: float) -> bool:
        """Whether the whole memory is read, or the new rows alone; ``lot`` is drawn from 0..1."""
        return True

    @abstractmethod
    def job(self, plan: Plan, texts: Texts) -> Job:
        """The texts of a pass."""

    def target(self, first: int, last: int, kept: KeptTarget | None) -> Target:
        """Nothing: what it predicts was never written."""
        return NOTHING

    def loss(self, logits: Tensor, job: Job) -> Tensor:
        """[B] mean loss of the target's next tokens."""
        from memplus.training.tasks.losses import text_losses

        return text_losses(logits, job.ids, job.unscored)

    def remember(self, job: Job, target: Target, kept: KeptTarget | None) -> KeptTarget | None:
        """What was kept before."""
        return kept


@dataclass(frozen=True)
class WritingTask(TextTask):
    """A task that writes chunks of documents and predicts what depends on them."""

    chunks: Steps = field(default_factory=lambda: Schedule.parse(1))
    """Chunks written one after another."""
    chunk_tokens: Steps | None = None
    """Tokens of a chunk; the memory's own by default."""
    gradient_writes: int = 1
    """Gradients flow back through the last so many writes."""
    full_pool: float = 1.0
    """Share of its steps that read the whole memory; the others read the new rows alone, under
    the write adapter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.full_pool <= 1, "full_pool", self.full_pool, "it is a share")
        require(self.gradient_writes >= 0, "gradient_writes", self.gradient_writes, "below 0")

    def check(self, memory: MemoryConfig) -> None:
        """Refuse what the base does, and chunks shorter than the rows that a write makes."""
        super().check(memory)
        least = memory.tokens_per_write
        low = self.chunk_tokens.lowest if self.chunk_tokens else memory.chunk_tokens
        require(low >= least, "chunk_tokens", low, f"a write makes {least} rows of it")

    def largest(self, memory: MemoryConfig) -> Sizes:
        """The largest pass of the run."""
        chunks, target = self.chunks.highest, self.target_tokens.highest
        size = self.chunk_tokens.highest if self.chunk_tokens else memory.chunk_tokens
        return Sizes(chunks, size, target, self.gradient_writes)

    def sizes(self, draw: Draw) -> Sizes:
        """How much is written and read; fewer chunks where the longest document is too short."""
        size = draw.memory.chunk_tokens
        if self.chunk_tokens is not None:
            size = self.chunk_tokens.draw(draw.step, draw.random)
        target = self.target_tokens.draw(draw.step, draw.random)
        room = draw.longest - self.beyond(target)
        chunks = min(self.chunks.draw(draw.step, draw.random), room // size)
        self.require_room(chunks >= 1, target, draw)
        return Sizes(chunks, size, target, self.gradient_writes)

    def beyond(self, target_tokens: int) -> int:
        """Tokens that a pass takes off each document beyond its chunks."""
        return 0

    def reads_whole(self, lot: float) -> bool:
        """By ``full_pool``."""
        return lot < self.full_pool

    def target(self, first: int, last: int, kept: KeptTarget | None) -> Target:
        """All chunks of the pass."""
        return Target(first, last)
