"""A step on running text: write chunks, read what depends on them, add up the losses.

Works on any ``MPlus`` through the same write and read passes as inference. Each document of a
batch has a memory of its own that lives on from text to text, as in the published training: what
earlier texts left in it are the distractors of later ones.

Shapes: B documents of this process, C chunks, T tokens of a chunk, S tokens of a target, K rows
per write, L layers, d hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from memplus.backbone.session import running
from memplus.mplus.model import MPlus
from memplus.passes.read import HiddenPrefix, ReadSession
from memplus.training.engine.workload import Figures
from memplus.training.tasks.lanes import LaneMemory
from memplus.training.tasks.learned_from import QUESTION_TOKENS
from memplus.training.tasks.losses import text_losses
from memplus.training.tasks.protocol import Job, KeptTarget
from memplus.training.tasks.question_reading import read_questions
from memplus.training.tasks.retrieval import LaneReading
from memplus.training.text.run_config import TrainingConfig

__all__ = ["TextStep"]


class TextStep(nn.Module):
    """A model and the memories of the documents it is trained on.

    Args:
        model: is trained.
        config: weights of the losses.
        memory: of the documents; changed by every job.
    """

    def __init__(self, model: MPlus, config: TrainingConfig, memory: LaneMemory) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.memory = memory
        self.kept: KeptTarget | None = None
        """What may be asked for again."""

    def forward(self, job: Job) -> tuple[Tensor, Figures]:
        """The loss [] of a job, averaged over this process's documents, and its figures."""
        plan, memory = job.plan, self.memory
        if job.forgets:
            memory.clear()
        if job.aside:
            memory = memory.empty()
        first, clock = memory.writes + 1, memory.clock
        written = self._write(job, memory)
        if job.asked is not None:
            return self._ask(job, memory, written, clock)
        target = plan.task.target(first, memory.writes, self.kept)
        reading = None
        if plan.whole:
            reading = LaneReading(
                self.model, memory, target, plan.query_tokens, self.config.retriever
            )
        text = plan.task.loss(self._read(job, reading, written), job).mean()
        loss, figures = self._with_language(text, written)
        figures[f"loss.{job.label}"] = text.detach()
        if reading is not None and reading.asked and not target.empty:
            learned = reading.loss()
            loss = loss + self.config.retriever.weight * learned
            figures["retriever"] = learned.detach()
            figures |= reading.recalls()
        figures["loss"] = loss.detach()
        memory.detach_new_rows()
        self.kept = plan.task.remember(job, target, self.kept)
        return loss, figures

    def _ask(
        self, job: Job, memory: LaneMemory, written: _Written, clock: int
    ) -> tuple[Tensor, Figures]:
        """The loss of a job's questions."""
        losses, figures = read_questions(self.model, memory, job, clock, self.config.retriever)
        loss, language = self._with_language(losses.mean(), written)
        memory.detach_new_rows()
        assert job.asked is not None
        figures[QUESTION_TOKENS] = torch.tensor(job.asked.tokens / len(job.seeds))
        return loss, figures | language | {"loss": loss.detach()}

    def _with_language(self, loss: Tensor, written: _Written) -> tuple[Tensor, Figures]:
        if written.language is None or not self.config.run.language:
            return loss, {}
        whole = loss + self.config.run.language * written.language
        return whole, {"language": written.language.detach()}

    def _write(self, job: Job, memory: LaneMemory) -> _Written:
        generators = [torch.Generator().manual_seed(seed) for seed in job.seeds]
        count, kept = job.plan.sizes.chunks, job.plan.sizes.gradient_writes
        fresh, losses = [], []
        for index in range(count):
            learns = index >= count - kept
            with contextlib.nullcontext() if learns else torch.no_grad():
                ids = job.chunks[:, index]
                out = self.model.core.write_pass(ids, memory.context())
                if learns and self.config.run.language:
                    losses.append(text_losses(self.model.core.logits(out.last_hidden), ids).mean())
            memory.write(out.rows, generators)
            if learns or not job.plan.whole:
                fresh.append(out.rows)
            if not learns:
                memory.detach_new_rows()
        return _Written(fresh, torch.stack(losses).mean() if losses else None)

    def _read(self, job: Job, reading: LaneReading | None, written: _Written) -> Tensor:
        """[B, S, V] logits of the target, behind the whole memory or the new rows alone."""
        model = self.model
        make = partial(HiddenPrefix, model.backbone, model.weights)
        if reading is not None:
            prefix = make(reading.source, count=reading.count)
            adapter = model.backbone.adapters.reading
        else:
            prefix = make(torch.cat(written.rows, dim=2))
            adapter = model.backbone.adapters.writing
        with running(model.backbone, ReadSession(model.backbone, prefix), adapter):
            output = model.backbone.decoder(input_ids=job.ids, use_cache=False)
        return model.core.logits(output.last_hidden_state)


@dataclass(frozen=True)
class _Written:
    rows: list[Tensor]
    """[B, L, K, d] of each write that is read alone or has a graph."""
    language: Tensor | None
    """[] mean loss of the chunks' own next tokens."""
