"""What a task of training is, and what passes between a task and the step that carries it out.

A task says what one pass over documents does. The step that carries it out (``training.text``)
writes the chunks of its job, reads the job's target behind the memory, and adds up losses; it asks
the task for everything that differs between tasks, and knows none by name. Configs are checked
before torch is loaded, so nothing here needs it until a job is made.

Shapes: B documents of a process, C chunks, T tokens of a chunk, S tokens of a target, n rows,
V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar, Protocol

from memplus.config import MemoryConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from memplus.training.tasks.asked import Asked
    from memplus.training.tasks.question_texts import Item, QuestionSource, Spelling
    from memplus.training.tasks.told_before import ToldBefore

__all__ = ["NOTHING", "Draw", "Job", "KeptTarget", "Plan", "Sizes", "Target", "Task", "Texts"]


@dataclass(frozen=True)
class Target:
    """Which writes a text depends on: their rows are the right ones for the retriever."""

    first: int
    """First write of its chunks."""
    last: int
    """Last write of its chunks; below ``first`` where it depends on nothing."""

    @property
    def empty(self) -> bool:
        """Whether it depends on nothing, so that the retriever learns nothing from it."""
        return self.last < self.first

    def right(self, write_ids: Tensor) -> Tensor:
        """True at the rows of these writes; the shape of ``write_ids``."""
        return (write_ids >= self.first) & (write_ids <= self.last)


NOTHING = Target(1, 0)


@dataclass(frozen=True)
class KeptTarget:
    """A target kept until it is asked for again."""

    ids: Tensor
    """[B, S]."""
    target: Target
    due: bool = False
    """It has been asked for again and may be replaced."""


@dataclass(frozen=True)
class Sizes:
    """How much a pass writes and reads."""

    chunks: int
    """Written, each of ``chunk_tokens``."""
    chunk_tokens: int
    target_tokens: int
    gradient_writes: int = 0
    """Gradients flow back through the last so many writes."""
    reads: int = 1
    """Targets read side by side, none of which sees another."""
    scored: int | None = None
    """Tokens of a target that are predicted, at most; None: all of them."""


@dataclass(frozen=True)
class Draw:
    """What a task draws the sizes of a pass from."""

    step: int
    """Updates done before it."""
    part: int
    """Which of the passes of that step."""
    random: Random
    longest: int
    """Tokens of the longest document."""
    memory: MemoryConfig
    random_query: bool
    """Whether a number of first tokens, drawn each time, asks the retriever, or all of them."""
    renewal: float
    """Chance that this pass may replace a kept target that has been asked for."""


@dataclass(frozen=True)
class Plan:
    """One pass over all documents of a step, or over the next ones where steps accumulate."""

    task: Task
    step: int
    """Updates done before it."""
    part: int
    """Which of the passes of that step."""
    sizes: Sizes
    whole: bool
    """Whether the whole memory is read, or the new rows alone."""
    query_tokens: int
    """First tokens of the target that ask the retriever."""
    renewed: bool
    """Whether its target is kept to be asked for again, if the last one has been."""

    @property
    def written(self) -> int:
        """Tokens written."""
        return self.sizes.chunks * self.sizes.chunk_tokens

    @property
    def tokens(self) -> int:
        """Tokens that the model sees of each document."""
        return self.written + self.sizes.reads * self.sizes.target_tokens

    def seeds(self, seed: int, documents: int) -> list[int]:
        """A seed per document, for what its memory drops."""
        stem = f"{seed}/{self.step}/{self.part}/document"
        return [Random(f"{stem} {index}").getrandbits(62) for index in range(documents)]


@dataclass(frozen=True)
class Job:
    """A plan with its texts. A task whose loss needs more makes a subclass of it."""

    plan: Plan
    chunks: Tensor
    """[B, C, T] int64: what is written."""
    ids: Tensor
    """[B, S] int64: what is predicted."""
    unscored: int = 0
    """First predictions that are not scored; that of the second token is number 0."""
    seeds: tuple[int, ...] = ()
    """Of this process's documents: what each drops. Given by the run."""
    documents: int = 1
    """In all processes. Given by the run."""
    asked: Asked | None = None
    """Questions that are read instead of ``ids``, each for itself."""
    forgets: bool = False
    """The memories are empty before anything is written."""
    aside: bool = False
    """Empty memories take the place of the documents' own, for this job alone."""

    @property
    def label(self) -> str:
        """Name of the task."""
        return self.plan.task.label

    @property
    def tokens(self) -> int:
        """Of all documents in all processes."""
        return self.documents * self.plan.tokens


class Texts(Protocol):
    """Where a task gets the texts of a job."""

    @property
    def share(self) -> range:
        """This process's documents among all of the batch, which has B of them."""
        ...

    @property
    def seed(self) -> int:
        """Of the run: with a plan's step and part, for what a task draws itself."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the tensors of a job belong."""
        ...

    @property
    def kept(self) -> KeptTarget | None:
        """What may be asked for again."""
        ...

    def take(self, length: int) -> Tensor:
        """[B, length] int64: the next stretch of each of this process's documents.

        Every process calls it equally often with the same length, so that all stay in step.
        """
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        ...

    @property
    def memory(self) -> MemoryConfig:
        """Sizes and rules of the documents' memories."""
        ...

    @property
    def clock(self) -> int:
        """Rows that the memories were given so far, counted as births are."""
        ...

    @property
    def before(self) -> ToldBefore:
        """What this process's documents were told; a task adds what it tells."""
        ...

    @property
    def spelling(self) -> Spelling:
        """How the model's tokenizer writes texts, questions and answers."""
        ...

    @property
    def sources(self) -> Sequence[QuestionSource]:
        """Of all tasks of the run, each once and whatever its weight: what ``before`` holds is
        named by a source's place here."""
        ...

    def items(self, source: QuestionSource) -> Sequence[Item]:
        """Passages with questions; encoded once for a run."""
        ...


class Task(Protocol):
    """One task of a run and its share of the steps; made from its entry in the config."""

    kind: ClassVar[str]
    """What a config calls it."""
    keeps: ClassVar[bool]
    """Whether its targets may be kept to be asked for again."""
    needs_kept: ClassVar[bool]
    """Whether it asks for a kept target, and so waits until there is one."""

    @property
    def weight(self) -> float:
        """Its share of the steps, relative to the other tasks."""
        ...

    @property
    def question_sources(self) -> Sequence[QuestionSource]:
        """Where the questions that it asks come from; none of a task that asks none."""
        ...

    @property
    def label(self) -> str:
        """How the log calls it."""
        ...

    def check(self, memory: MemoryConfig) -> None:
        """Refuse what contradicts the memory.

        Raises:
            ConfigError: by the task's own name of the field.
        """
        ...

    def largest(self, memory: MemoryConfig) -> Sizes:
        """The most of everything that a pass of the run has."""
        ...

    def passes(self, memory: MemoryConfig) -> Sequence[Sizes]:
        """The largest pass of each kind, for reckoning what the run needs."""
        ...

    def plan(self, draw: Draw) -> Plan:
        """What a pass does: equal for equal draws, whatever the process.

        Raises:
            ConfigError: no document is long enough.
        """
        ...

    def job(self, plan: Plan, texts: Texts) -> Job:
        """The texts of a pass."""
        ...

    def target(self, first: int, last: int, kept: KeptTarget | None) -> Target:
        """What the job's target depends on, after its chunks were the writes first..last."""
        ...

    def loss(self, logits: Tensor, job: Job) -> Tensor:
        """[B] loss of each document, from logits [B, S, V] at the target's own tokens."""
        ...

    def remember(self, job: Job, target: Target, kept: KeptTarget | None) -> KeptTarget | None:
        """What is kept to be asked for again after this job."""
        ...
