"""The texts of a run as its tasks see them: stretches for this process's documents.

Shapes: B documents of this process.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.mplus.model import MPlus
from memplus.training.tasks.protocol import KeptTarget, Task
from memplus.training.tasks.question_texts import Item, QuestionSource, trained_items
from memplus.training.tasks.spelling import TokenizerSpelling, end_of
from memplus.training.tasks.told_before import ToldBefore
from memplus.training.text.order import DocumentOrder

__all__ = ["BatchTexts"]


class BatchTexts:
    """Takes stretches for every document of a batch, and keeps those of this process.

    Args:
        order: in which documents come; the same in all processes.
        share: this process's documents among those of the batch.
        batch: documents in all processes.
        model: encodes instructions, and says where tensors belong.
        tasks: of the run, whose sources of questions documents are told from.
        remembered: rows after which the documents' memories hold nothing of a text any more.
    """

    def __init__(
        self,
        order: DocumentOrder,
        share: range,
        batch: int,
        model: MPlus,
        tasks: Sequence[Task] = (),
        remembered: int = 0,
    ) -> None:
        self.order = order
        self.share = share
        self.batch = batch
        self.kept: KeptTarget | None = None
        """What may be asked for again, as of the step that is drawn."""
        self.clock = 0
        """Rows that the memories were given, as of that step."""
        self.before = ToldBefore(len(share), remembered)
        """What the documents were told."""
        self._model = model
        ends = end_of(model.model.generation_config)
        self.spelling = TokenizerSpelling(model.tokenizer, model.prompt, ends)
        """How the model's tokenizer writes texts, questions and answers."""
        named = [one for task in tasks for one in task.question_sources]
        self.sources = tuple(dict.fromkeys(one.unweighted for one in named))
        self._items: dict[QuestionSource, Sequence[Item]] = {}

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.order.seed

    @property
    def device(self) -> torch.device:
        """Where the tensors of a job belong."""
        return self._model.device

    @property
    def memory(self) -> MemoryConfig:
        """Sizes and rules of the documents' memories."""
        return self._model.memory_config

    def take(self, length: int) -> Tensor:
        """[B, length] int64: the next stretch of each of this process's documents.

        Raises:
            ConfigError: no document is that long.
        """
        return self.order.batch(length, self.batch, self.share).to(self.device)

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        return self._model.encode(text) if text else []

    def items(self, source: QuestionSource) -> Sequence[Item]:
        """Passages with questions; encoded once for a run, what has no end when it is asked for.

        Raises:
            NotFoundError, StorageError, QuestionSetError: they cannot be read.
            ConfigError: there are none.
        """
        key = source.unweighted
        if key not in self._items:
            self._items[key] = trained_items(key, self.spelling)
        return self._items[key]
