"""Completion: write chunks of a document, predict what follows them (MemoryLLM section 3.2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from memplus.training.tasks.protocol import Job, KeptTarget, Plan, Target, Texts
from memplus.training.tasks.text_task import WritingTask

__all__ = ["Completion"]


@dataclass(frozen=True)
class Completion(WritingTask):
    """Predicts what follows the chunks; a target of it may be revisited later."""

    kind: ClassVar[str] = "completion"
    keeps: ClassVar[bool] = True

    def beyond(self, target_tokens: int) -> int:
        """The target stands after the chunks."""
        return target_tokens

    def job(self, plan: Plan, texts: Texts) -> Job:
        """Chunks, and the tokens after them."""
        own = texts.take(plan.tokens)
        chunks = own[:, : plan.written].unflatten(1, (plan.sizes.chunks, -1))
        return Job(plan, chunks, own[:, plan.written :])

    def remember(self, job: Job, target: Target, kept: KeptTarget | None) -> KeptTarget | None:
        """Its own target, once the one before has been asked for again."""
        if kept is None or (kept.due and job.plan.renewed):
            return KeptTarget(job.ids, target)
        return kept
