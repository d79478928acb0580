"""The texts of a run as its tasks see them: stretches for this process's documents.

Shapes: B documents of this process.
"""

from __future__ import annotations

import torch
from torch import Tensor

from memplus.mplus.model import MPlus
from memplus.training.tasks.protocol import KeptTarget
from memplus.training.text.order import DocumentOrder

__all__ = ["BatchTexts"]


class BatchTexts:
    """Takes stretches for every document of a batch, and keeps those of this process.

    Args:
        order: in which documents come; the same in all processes.
        share: this process's documents among those of the batch.
        batch: documents in all processes.
        model: encodes instructions, and says where tensors belong.
    """

    def __init__(self, order: DocumentOrder, share: range, batch: int, model: MPlus) -> None:
        self.order = order
        self.share = share
        self.batch = batch
        self.kept: KeptTarget | None = None
        """What may be asked for again, as of the step that is drawn."""
        self._model = model

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.order.seed

    @property
    def device(self) -> torch.device:
        """Where the tensors of a job belong."""
        return self._model.device

    def take(self, length: int) -> Tensor:
        """[B, length] int64: the next stretch of each of this process's documents.

        Raises:
            ConfigError: no document is that long.
        """
        taken = [self.order.take(length) for _ in range(self.batch)]
        return torch.stack([taken[index] for index in self.share]).to(self.device)

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        return self._model.encode(text) if text else []
