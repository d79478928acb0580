"""The texts of a run as its tasks see them: stretches for this process's documents.

Shapes: B documents of this process.
"""

from __future__ import annotations

import torch
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.errors import ConfigError
from memplus.mplus.encoding import encode_within
from memplus.mplus.model import MPlus
from memplus.training.tasks.protocol import KeptTarget
from memplus.training.tasks.question_texts import Item, QuestionSource, encode_source
from memplus.training.tasks.told_before import ToldBefore
from memplus.training.text.order import DocumentOrder

__all__ = ["BatchTexts", "ModelSpelling"]


class BatchTexts:
    """Takes stretches for every document of a batch, and keeps those of this process.

    Args:
        order: in which documents come; the same in all processes.
        share: this process's documents among those of the batch.
        batch: documents in all processes.
        model: encodes instructions, and says where tensors belong.
        remembered: rows after which the documents' memories hold nothing of a text any more.
    """

    def __init__(
        self, order: DocumentOrder, share: range, batch: int, model: MPlus, remembered: int = 0
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
        self.spelling = ModelSpelling(model)
        """How the model's tokenizer writes texts, questions and answers."""
        self._items: dict[QuestionSource, list[Item]] = {}

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
        taken = [self.order.take(length) for _ in range(self.batch)]
        return torch.stack([taken[index] for index in self.share]).to(self.device)

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        return self._model.encode(text) if text else []

    def items(self, source: QuestionSource) -> list[Item]:
        """Passages with questions; encoded once for a run.

        Raises:
            NotFoundError, StorageError, QuestionSetError: they cannot be read.
            ConfigError: there are none.
        """
        if source not in self._items:
            found = encode_source(source, self.spelling)
            if not found:
                reason = "nothing in it is for training, and short enough"
                raise ConfigError("sources", value=str(source.path or source.kind), reason=reason)
            self._items[source] = found
        return self._items[source]


class ModelSpelling:
    """How a model's tokenizer writes texts, questions and answers.

    Args:
        model: its tokenizer, its prompt and the token that ends its answers.
    """

    def __init__(self, model: MPlus) -> None:
        self._model = model
        ends = model.model.generation_config.eos_token_id
        self._end = ends[0] if isinstance(ends, list) else ends

    def text(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text, and where each of them ends in it."""
        ids, ends = self._model.core.encode_with_ends(text)
        # A tokenizer that cannot tell: every token may hold what is looked for.
        return ids, ends if ends is not None else [len(text)] * len(ids)

    def question(self, question: str) -> list[int]:
        """A question in the model's prompt."""
        model = self._model
        return encode_within(model.tokenizer, model.prompt.template, question.strip())

    def answer(self, answer: str) -> list[int]:
        """An answer as the model would give it, with the token that ends it.

        It follows a template that ends with a new line as it is, and any other after a space.
        """
        start = "" if self._model.prompt.template[-1:].isspace() else " "
        ids = self._model.encode(start + answer)
        return [*ids, self._end] if self._end is not None else ids

    @property
    def abstention(self) -> list[int]:
        """What the model answers to what it was never told."""
        return self.answer(self._model.prompt.abstention)
