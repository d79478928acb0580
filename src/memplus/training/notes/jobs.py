"""What a step of training is given: an episode's tensors, and the stage that it is of.

Shapes: D documents, C chunks of each, T chunk tokens, K rows per write, G groups, Q questions,
t tokens of a question row, R = D * C * K rows that the step writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from memplus.training.notes.recipe import Stage

__all__ = ["IGNORED", "Episode", "JobSource", "NotesJob"]

IGNORED = -100


@dataclass
class Episode:
    """One step's tensors."""

    chunks: Tensor
    """[D, C, T] what is written."""
    ids: Tensor
    """[Q, t] unwritten text, prompt and answer but for its last token; padded on the right."""
    labels: Tensor
    """[Q, t] the answer's tokens where they are predicted, else ``IGNORED``."""
    tail_labels: Tensor
    """[Q, t] the unwritten text's next tokens, once for each group."""
    prompt: Tensor
    """[Q, t] true where a token belongs to the prompt."""
    told: Tensor
    """[Q, R] true at the rows that can hold the answer: from the statement's verb to its end."""
    abstains: Tensor
    """[Q] true where the answer is the abstention."""
    far: Tensor
    """[Q] true where another group was told."""


@dataclass(frozen=True)
class NotesJob:
    """An episode of a stage."""

    stage: Stage
    episode: Episode
    seed: int
    """Of what the step itself draws."""
    counts: bool
    """Whether its accuracy decides when the stage ends."""

    @property
    def label(self) -> str:
        """Name of the stage."""
        return self.stage.name

    @property
    def tokens(self) -> int:
        """Tokens written and read."""
        return self.episode.chunks.numel() + self.episode.ids.numel()


class JobSource(Protocol):
    """Where the jobs of a run come from."""

    def draw(self, seed: int, step: int, part: int, stage: int) -> NotesJob:
        """The job of a step of a run with a seed that stands at a stage."""
        ...
