"""Texts without a run, for tests of single tasks."""

from __future__ import annotations

from random import Random

import torch
from tests.training.settings import MEMORY
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.training.tasks.protocol import Draw, KeptTarget

CONFIG = MemoryConfig.from_dict(MEMORY)
"""Chunks of 10 tokens, of which a write makes 8 rows."""


class CountingTexts:
    """Texts of two documents whose tokens are numbers in order: 0, 1, 2... and 1000, 1001..."""

    share = range(2)
    seed = 3
    device = torch.device("cpu")

    def __init__(self, kept: KeptTarget | None = None) -> None:
        self.kept = kept
        self.taken = 0

    def take(self, length: int) -> Tensor:
        start, self.taken = self.taken, self.taken + length
        return start + torch.arange(length) + torch.tensor([[0], [1000]])

    def encode(self, text: str) -> list[int]:
        return [500 + index for index in range(len(text))]


def draw_of(step: int = 0, longest: int = 500) -> Draw:
    return Draw(step, 0, Random(step), longest, CONFIG, random_query=True, renewal=0.5)
