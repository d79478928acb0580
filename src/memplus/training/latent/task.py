"""What a task of a system's training is: what a pass reads, writes and learns.

A task is a frozen dataclass, whose fields are what a config may say of it. For a run it opens a
source, which draws one pass after another and says where it stands, so that a run can be resumed.
The step (``latent.step``) carries passes out on any mechanism.

Shapes: B documents of this process, n tokens, Q rows of questions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from memplus.config import require
from memplus.training.engine.common_config import STRICT, require_weight
from memplus.training.tasks.question_texts import Spelling

if TYPE_CHECKING:
    from torch import Tensor

    from memplus.training.tasks.asked import Asked
    from memplus.training.text.order import DocumentOrder

__all__ = ["LatentJob", "LatentTask", "Source", "Surroundings"]


@dataclass(frozen=True)
class LatentJob:
    """One pass of a task."""

    label: str
    """Name of the task: states are kept by it."""
    step: int
    """Updates done before it."""
    ids: Tensor
    """[B, n] what is read segment by segment."""
    fresh: bool
    """Whether it begins with empty states, or with those that the task's last pass left."""
    tokens: int
    """Read in all processes, for the speed."""
    labels: Tensor | None = None
    """[B, n] the token behind each where it is predicted, else ``IGNORED``; None: ``ids`` are only
    written, a document at a time, and questions are asked."""
    asked: Asked | None = None
    """Questions of all documents, padded on the left."""
    about: Tensor | None = None
    """[Q, 2] where in each row the question stands, as ``Mechanism.read_about`` takes it."""
    seen: Tensor | None = None
    """[Q] whether what a row asks for can be remembered; the answers of others are not learned."""


@dataclass(frozen=True)
class Surroundings:
    """What a task may know of its run."""

    order: DocumentOrder
    """In which stretches of documents come; the same in all processes."""
    share: range
    """This process's documents among those of a batch."""
    batch: int
    """Documents in all processes."""
    spelling: Spelling
    segment_tokens: int
    """Of the mechanism."""
    longest: int
    """Most tokens that the mechanism reads at once."""

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.order.seed

    def take(self, length: int) -> Tensor:
        """[B, length] int64: the next stretch of each of this process's documents.

        Raises:
            ConfigError: no document is that long.
        """
        return self.order.batch(length, self.batch, self.share)

    def random(self, step: int, part: int, of: object = "") -> Random:
        """A generator for what is drawn in a pass, of all documents or of one."""
        return Random(f"{self.seed}/{step}/{part}/{of}")


class Source(Protocol):
    """Draws the passes of a task in one run."""

    def draw(self, step: int, part: int) -> LatentJob:
        """The next pass.

        Args:
            step: updates done before it.
            part: which of the passes of that step.

        Raises:
            ConfigError: no document is long enough.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What this process keeps from pass to pass."""
        ...

    def state(self) -> dict[str, Any]:
        """What all processes keep alike, as plain values."""
        ...

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Undo both."""
        ...


@dataclass(frozen=True, kw_only=True)
class LatentTask(ABC):
    """An entry of a config's ``tasks``: ``{task: KIND, weight: 1.0, ...}``."""

    __pydantic_config__ = STRICT
    kind: ClassVar[str]
    """What a config calls it."""

    name: str = ""
    """In the log; the kind of task by default."""
    weight: float = 1.0
    """Its share of the steps, relative to the other tasks."""

    def __post_init__(self) -> None:
        require_weight(self.weight)
        require("/" not in self.name, "name", self.name, "no slash can be in it")

    @property
    def label(self) -> str:
        """How the log calls it."""
        return self.name or self.kind

    @abstractmethod
    def open(self, around: Surroundings) -> Source:
        """What draws its passes in a run; files are read here, once.

        Raises:
            MemplusError: a file cannot be used.
        """
