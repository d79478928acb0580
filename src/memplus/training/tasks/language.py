"""Language: write nothing, predict plain text beside a memory that has nothing to do with it.

A full memory must not disturb what a model knows without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from memplus.training.tasks.protocol import Job, Plan, Texts
from memplus.training.tasks.text_task import TextTask

__all__ = ["Language"]


@dataclass(frozen=True)
class Language(TextTask):
    """Predicts text that was never written."""

    kind: ClassVar[str] = "language"

    def job(self, plan: Plan, texts: Texts) -> Job:
        """No chunks; a stretch of text."""
        own = texts.take(plan.tokens)
        return Job(plan, own[:, :0, None], own)
