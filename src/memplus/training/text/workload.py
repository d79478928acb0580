"""Training on running text: which documents come next, and what is kept from step to step.

Every process walks through all documents in the same order and trains on its own share of each
batch, so the number of processes changes nothing.

Shapes: B documents of a batch, b those of this process, S tokens of a target, L layers, d hidden
size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from memplus.errors import ConfigError
from memplus.mplus.model import MPlus
from memplus.training.tasks.lanes import LaneMemory, Rows
from memplus.training.tasks.learned_from import LearnedFrom
from memplus.training.tasks.protocol import Job, KeptTarget, Target
from memplus.training.tasks.retrieval import dropped_rows
from memplus.training.tasks.task_plan import Planner
from memplus.training.text.batch_texts import BatchTexts
from memplus.training.text.order import DocumentOrder
from memplus.training.text.run_config import TrainingConfig
from memplus.training.text.step import TextStep
from memplus.training.text.text_cache import Documents

__all__ = ["TextWorkload", "lane_memory"]


class TextWorkload:
    """The tasks of a config on its documents.

    Args:
        model: is trained.
        config: tasks and sizes.
        documents: of all processes.
        process: index of this process.
        processes: how many there are; they divide ``run.documents``.

    Raises:
        ConfigError: the documents of a batch cannot be divided.
    """

    def __init__(
        self,
        model: MPlus,
        config: TrainingConfig,
        documents: Documents,
        *,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        batch = config.run.documents
        if batch % processes:
            reason = f"{processes} processes cannot divide them"
            raise ConfigError("run.documents", value=batch, reason=reason)
        self.config = config
        self.order = DocumentOrder(documents, config.run.seed)
        share = batch // processes
        self.share = range(process * share, (process + 1) * share)
        self.module = TextStep(model, config, lane_memory(model, config, share))
        self.planner = Planner(
            config.tasks,
            config.memory,
            config.run.seed,
            config.retriever.random_query,
            config.run.revisit_renewal,
        )
        remembered = config.run.stored_rows + config.memory.short_term_tokens
        self.texts = BatchTexts(self.order, self.share, batch, model, config.tasks, remembered)
        self.learned_from: LearnedFrom | None = LearnedFrom(batch)
        """None: the run was begun by a release that did not count."""

    def draw(self, step: int, part: int) -> Job:
        """The next texts, and what is done with them."""
        kept = self.texts.kept = self.module.kept
        self.texts.clock = self.module.memory.clock
        self.texts.before.expire(self.texts.clock)
        longest = self.order.documents.longest
        plan = self.planner.draw(step, part, longest, kept=kept is not None)
        job = plan.task.job(plan, self.texts)
        batch = self.config.run.documents
        seeds = plan.seeds(self.config.run.seed, batch)
        return replace(job, seeds=tuple(seeds[i] for i in self.share), documents=batch)

    def advance(self, job: Job, figures: dict[str, float]) -> None:
        """Count what was learned from."""
        if self.learned_from is not None:
            text = job.chunks.shape[1] * job.chunks.shape[2] + job.ids.shape[1]
            self.learned_from.add(text, job.asked, len(job.seeds), figures)

    def tensors(self) -> dict[str, Tensor]:
        """The memories, what was told, and the kept target."""
        kept = self.module.kept
        own = self.module.memory.tensors() | {"told": self.texts.before.tensor()}
        return own | ({"revisited": kept.ids} if kept else {})

    def state(self) -> dict[str, Any]:
        """The order of documents, what the kept target depends on, and counts."""
        kept = self.module.kept
        target = [kept.target.first, kept.target.last, int(kept.due)] if kept else None
        counts = None if self.learned_from is None else dict(self.learned_from.counts)
        return {"order": self.order.state(), "revisited": target, "counts": counts}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.order.restore(state["order"])
        self.module.memory.restore(tensors)
        self.texts.before.restore(tensors["told"])
        counts = state.get("counts")
        if counts is None:
            self.learned_from = None
        elif self.learned_from is not None:
            self.learned_from.counts.update(counts)
        if state["revisited"] is not None:
            first, last, due = state["revisited"]
            ids = tensors["revisited"].to(self.texts.device, copy=True)
            self.module.kept = KeptTarget(ids, Target(first, last), bool(due))


def lane_memory(model: MPlus, config: TrainingConfig, share: int) -> LaneMemory:
    """Empty memories, or those that the model comes with."""
    layers, width = len(model.backbone.layers), model.backbone.hidden_size
    rows = config.memory
    like = torch.empty(0, dtype=model.backbone.dtype, device=model.device)
    long_term = None
    if rows.has_long_term:
        on_cpu = config.run.store_on_cpu
        long_term = dropped_rows(model, share, config.run.stored_rows, on_cpu=on_cpu)
    memory = LaneMemory(rows, (share, layers, width), like, long_term)
    given = model.pristine.short_term
    if given is not None:
        vectors = given[:, -rows.short_term_tokens :].to(like).expand(share, -1, -1, -1)
        # Write id 0: rows that no text of this run depends on.
        births = torch.arange(1 - vectors.shape[2], 1, device=like.device)
        births = births.expand(share, layers, -1)
        memory.start_from(Rows(vectors.clone(), births, torch.zeros_like(births)))
    return memory
