"""Questions: passages are written, many questions are asked about them, the answers are learned.

What is told and asked is that of M+'s own task of this name (``training.tasks.questions``): the
same sources, the same order of telling, the same kinds of rows. A memory of rows is not assumed
here: a token's place in all that a document was told takes the place of its row.

Shapes: B documents of this process, q rows of each, Q = B * q.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from memplus.config import require
from memplus.errors import ConfigError
from memplus.training.engine.schedules import Schedule
from memplus.training.latent.question_place import QuestionPlace
from memplus.training.latent.task import LatentJob, LatentTask, Surroundings
from memplus.training.tasks.asked import Asked, asked_of
from memplus.training.tasks.question_mix import QuestionMix
from memplus.training.tasks.question_pass import QuestionPass, Written
from memplus.training.tasks.question_texts import LONGEST_ROW, trained_items
from memplus.training.tasks.telling import Pool, Teller
from memplus.training.tasks.text_task import Steps
from memplus.training.tasks.told_before import ToldBefore

__all__ = ["LatentQuestions"]

_PLAIN = 160
"""Tokens of a stretch of the run's own texts."""


@dataclass(frozen=True, kw_only=True)
class LatentQuestions(QuestionMix, LatentTask):
    """Passages are told, and asked for."""

    kind: ClassVar[str] = "questions"

    segments: Steps = field(default_factory=lambda: Schedule.parse(2))
    """Segments told and written in a pass."""
    remembered: int = 0
    """Tokens after which what was told counts as forgotten: no answer is learned that lies further
    back, and later passes do not ask for it and may tell it again. 0: everything that a pass tells
    is learned, and nothing of earlier ones asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_mix()
        require(self.remembered >= 0, "remembered", self.remembered, "it must be at least 0")
        reason = "remembered is 0: nothing of earlier passes is asked for"
        require(not self.earlier or self.remembered > 0, "earlier", self.earlier, reason)

    def open(self, around: Surroundings) -> QuestionsSource:
        """See ``LatentTask.open``."""
        return QuestionsSource(self, around)


class QuestionsSource:
    """The passes of a run.

    Args:
        task: what is told and asked, and how much of it.
        around: texts and spelling.

    Raises:
        NotFoundError, StorageError, QuestionSetError: a source cannot be read.
        ConfigError: a source holds nothing to train on, or the mechanism cannot read a question
            behind the longest tail at once.
    """

    def __init__(self, task: LatentQuestions, around: Surroundings) -> None:
        self.task = task
        self.around = around
        room = around.longest - LONGEST_ROW
        if task.tails and task.tail_tokens > room:
            reason = f"behind a question the system reads {room} tokens at once"
            name = f"tasks.{task.label}.tail_tokens"
            raise ConfigError(name, value=task.tail_tokens, reason=reason)
        self._pools = [Pool(trained_items(s, around.spelling), s.weight) for s in task.sources]
        self._place = QuestionPlace(around.spelling)
        self._before = ToldBefore(len(around.share), task.remembered)
        self._clock = 0
        """Tokens that each document was told and wrote."""
        self._begun = False

    def draw(self, step: int, part: int) -> LatentJob:
        """See ``Source.draw``."""
        task, around = self.task, self.around
        common = around.random(step, part, task.label)
        written = task.segments.draw(step, common) * around.segment_tokens
        fresh = not self._begun or common.random() < task.forgets
        tail = common.randint(8, task.tail_tokens) if common.random() < task.tails else 0
        self._before.clear() if fresh else self._before.expire(self._clock)
        self._begun = True
        plain = around.take(_PLAIN) if task.plain else None
        teller = Teller(self._pools, self._before, task)
        place = Written(written, tail, self._clock, _tokens)
        pass_ = QuestionPass(task, task.asked, teller, place, around.spelling)
        told, rows = [], []
        for index, document in enumerate(around.share):
            random = around.random(step, part, f"{task.label}/{document}")
            own = None if plain is None else plain[index].tolist()
            one = pass_.tell(index, own, random)
            told.append(one.ids[:written])
            rows += pass_.rows(index, one, random)
            pass_.remember(self._before, index, one)
        self._clock += written
        asked = asked_of(rows, torch.device("cpu"), left=True)
        # What is told is as long everywhere; of the rows' lengths this process knows its own.
        read = int((asked.ids.shape[1] - asked.pad).sum()) if asked.pad is not None else 0
        tokens = around.batch * written + read * around.batch // len(around.share)
        ids = torch.tensor(told, dtype=torch.int64)
        about = self._place.of(rows, asked.ids.shape[1])
        seen = self._seen(asked, written)
        return LatentJob(task.label, step, ids, fresh, tokens, asked=asked, about=about, seen=seen)

    def _seen(self, asked: Asked, written: int) -> Tensor:
        """[Q] whether what a row asks for is remembered, or was never told."""
        first, last = asked.rows.unbind(dim=1)
        near = written - first <= self.task.remembered
        return (last < first) | near if self.task.remembered else torch.ones_like(near)

    def tensors(self) -> dict[str, Tensor]:
        """What documents were told."""
        return {"told": self._before.tensor()}

    def state(self) -> dict[str, Any]:
        """How much documents were told."""
        return {"clock": self._clock, "begun": self._begun}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """See ``Source.restore``."""
        self._before.restore(tensors["told"])
        self._clock, self._begun = int(state["clock"]), bool(state["begun"])


def _tokens(first: int, last: int) -> tuple[int, int]:
    return first, last
