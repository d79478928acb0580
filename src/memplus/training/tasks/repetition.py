"""Repetition: write chunks of a document, predict them again (MemoryLLM section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from memplus.config import require
from memplus.training.tasks.protocol import Draw, Job, Plan, Sizes, Texts
from memplus.training.tasks.text_task import WritingTask

__all__ = ["Repetition"]


@dataclass(frozen=True)
class Repetition(WritingTask):
    """Predicts the beginning of the chunks again, after an instruction."""

    kind: ClassVar[str] = "repetition"

    instruction: str = ""
    """Text before the repetition."""
    unscored: int = 0
    """First repeated tokens that are not scored: nothing says which chunk is meant."""

    def __post_init__(self) -> None:
        super().__post_init__()
        shortest = self.target_tokens.lowest
        reason = f"the shortest target has {shortest} tokens"
        require(0 <= self.unscored < shortest, "unscored", self.unscored, reason)

    def sizes(self, draw: Draw) -> Sizes:
        """A repetition is no longer than what it repeats."""
        sizes = super().sizes(draw)
        written = sizes.chunks * sizes.chunk_tokens
        return replace(sizes, target_tokens=min(sizes.target_tokens, written))

    def job(self, plan: Plan, texts: Texts) -> Job:
        """Chunks; the instruction and their first tokens."""
        import torch

        own = texts.take(plan.written)
        chunks = own.unflatten(1, (plan.sizes.chunks, -1))
        asked = torch.tensor([texts.encode(self.instruction)], dtype=own.dtype, device=own.device)
        again = own[:, : plan.sizes.target_tokens]
        ids = torch.cat([asked.expand(len(own), -1), again], dim=1)
        return Job(plan, chunks, ids, max(0, asked.shape[1] + self.unscored - 1))
