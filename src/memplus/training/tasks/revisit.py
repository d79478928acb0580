"""Revisit: write nothing, predict what followed chunks written long ago (MemoryLLM section 3.2.3).

Many writes of other texts lie between, so what it depends on has to be kept in the pool or
retrieved from the long-term memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from memplus.training.tasks.protocol import NOTHING, Job, KeptTarget, Plan, Target, Texts
from memplus.training.tasks.text_task import TextTask

__all__ = ["Revisit"]


@dataclass(frozen=True)
class Revisit(TextTask):
    """Predicts a kept target again.

    ``target_tokens`` bounds how many of its first tokens ask the retriever: the target has the
    length that it was kept with.
    """

    kind: ClassVar[str] = "revisit"
    needs_kept: ClassVar[bool] = True

    def job(self, plan: Plan, texts: Texts) -> Job:
        """No chunks; the kept target."""
        import torch

        kept = texts.kept
        assert kept is not None, "a revisit is drawn only where something is kept"
        nothing = torch.zeros((len(kept.ids), 0, 1), dtype=torch.int64, device=kept.ids.device)
        return Job(plan, nothing, kept.ids)

    def target(self, first: int, last: int, kept: KeptTarget | None) -> Target:
        """What the kept target depends on."""
        return NOTHING if kept is None else kept.target

    def remember(self, job: Job, target: Target, kept: KeptTarget | None) -> KeptTarget | None:
        """The same, now due to be replaced."""
        return None if kept is None else replace(kept, due=True)
