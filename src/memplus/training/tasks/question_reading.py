"""Reading the questions of a pass against the documents' memories, and what is learned from it.

Shapes: B documents, q questions of a document, Q = B * q, t tokens of a question row, n short-term
rows, m retrieved rows, U spans that a document's questions retrieve together, s rows of a span,
d hidden size, V vocabulary.
"""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from memplus.backbone.access import Layer
from memplus.backbone.attention import Segment
from memplus.backbone.rope import rotate
from memplus.backbone.session import running
from memplus.memory.retriever import behind_best
from memplus.mplus.model import MPlus
from memplus.training.engine.workload import Figures
from memplus.training.tasks.answers import answer_losses
from memplus.training.tasks.asked import IGNORED, Asked
from memplus.training.tasks.grouped_read import (
    GroupedPrefix,
    GroupedReadSession,
    GroupedRows,
    gather_rows,
)
from memplus.training.tasks.lanes import LaneMemory
from memplus.training.tasks.protocol import Job
from memplus.training.tasks.question_spans import Found, find_spans, right_rows
from memplus.training.tasks.retriever_config import RetrieverConfig

__all__ = ["read_questions"]


def read_questions(
    model: MPlus, memory: LaneMemory, job: Job, clock: int, config: RetrieverConfig
) -> tuple[Tensor, Figures]:
    """The loss [B] of each document's questions, and figures.

    A question whose answer is in no row that it reads, since the row was dropped and not retrieved,
    teaches nothing: its answer could only be guessed.

    Args:
        model: is trained.
        memory: of the documents, after the pass wrote.
        job: the pass; it has questions.
        clock: of the memory before the pass wrote.
        config: of the retriever's loss.
    """
    asked = job.asked
    assert asked is not None
    each = len(asked.ids) // len(job.seeds)
    found = None
    if memory.long_term is not None and (memory.count or memory.long_term.filled):
        forced = _lots(job, each).to(asked.ids.device) < config.forced
        found = find_spans(model, memory, asked, clock, config, forced)
    if found is not None and not asked.answered:
        return config.weight * found.loss, _found_figures(found)
    prefix = _LanePrefix(model, memory, found, len(job.seeds))
    session = GroupedReadSession(model.backbone, prefix)
    with running(model.backbone, session, model.backbone.adapters.reading):
        output = model.backbone.decoder(input_ids=asked.ids, use_cache=False)
    there = asked.labels != IGNORED
    logits = model.core.logits(output.last_hidden_state[there])
    seen = _seen(memory, asked, clock, found)
    loss, figures = answer_losses(logits, asked, seen, len(job.seeds))
    if found is not None:
        loss = loss + config.weight * found.loss
        figures |= _found_figures(found)
    return loss, figures


def _found_figures(found: Found) -> Figures:
    return {"retriever": found.loss.mean().detach(), "recall": found.recall}


def _lots(job: Job, each: int) -> Tensor:
    """[Q] numbers in 0..1, by each document's own seed."""
    drawn = [Random(f"{seed}/forced") for seed in job.seeds]
    return torch.tensor([random.random() for random in drawn for _ in range(each)])


def _seen(memory: LaneMemory, asked: Asked, clock: int, found: Found | None) -> Tensor:
    """[Q] true where what a row asks for is before it, or nowhere."""
    nowhere = asked.rows[:, 1] < asked.rows[:, 0]
    if found is not None:
        return nowhere | found.seen
    return nowhere | right_rows(memory.births()[:, 0], asked, clock).any(dim=1)


class _LanePrefix(GroupedPrefix):
    """bos, what each question retrieved, and the short-term pool of its document."""

    def __init__(
        self, model: MPlus, memory: LaneMemory, found: Found | None, documents: int
    ) -> None:
        super().__init__()
        self.model = model
        self.memory = memory
        self.documents = documents
        self.stored = model.memory_config.stored_layers(len(model.backbone.layers))
        self.retrieved = 0
        self.behind: Tensor | None = None
        if found is not None and model.weights.span_weights is not None:
            self.behind = behind_best(found.scores, memory.config.span_rows)
        if found is not None and found.spans.shape[1]:
            span = memory.config.span_rows
            self.retrieved = found.spans.shape[1] * span
            self.bank, self.own = _bank(found.spans, documents, span)

    def shift(self, device: torch.device) -> Tensor:
        """[1]: bos, retrieved and short-term rows."""
        return torch.tensor([1 + self.retrieved + self.memory.count], device=device)

    def prepare(self, layer: int, hidden: Tensor, length: int) -> None:
        """Project and turn this layer's rows."""
        access = self.model.backbone.layers[layer]
        total = 1 + self.retrieved + self.memory.count
        cos, sin = self.model.backbone.angles(access, total, hidden)
        start = 1 + self.retrieved
        keys, values = access.project(self.memory.rows(layer))
        keys = rotate(keys, (cos[start:], sin[start:]))
        bos = [part.expand(self.documents, -1, -1, -1) for part in self._bos(access)[:2]]
        shared = Segment(
            torch.cat([bos[0], keys], dim=1).transpose(1, 2),
            torch.cat([bos[1], values], dim=1).transpose(1, 2),
        )
        own = None
        # Other layers keep no dropped rows; what follows keeps its places there as well.
        if self.retrieved and layer in self.stored:
            own = self._retrieved(access, (cos[1:start], sin[1:start]))
        self.layers[layer] = GroupedRows(shared, own, self._bias(layer))

    def _bias(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """What is added to attention to bos and the pool [Q, 1 + n], and to retrieved rows."""
        if self.behind is None:
            return None
        bias = self.model.weights.span_bias(layer, self.behind)
        own, pool = bias.split([self.retrieved, self.memory.count], dim=1)
        return functional.pad(pool, (1, 0)), own if layer in self.stored else own[:, :0]

    def _bos(self, access: Layer) -> Segment:
        bos = self.model.weights.bos_embedding
        assert bos is not None, "questions are read behind bos"
        return Segment(*access.project(bos[access.index][None]))

    def _retrieved(self, access: Layer, angles: tuple[Tensor, Tensor]) -> Segment:
        """[Q, K, m, D] of what each question retrieved; each span is projected once."""
        dropped = self.memory.long_term
        assert dropped is not None
        vectors = dropped.rows.vectors[:, access.index]
        places = self.bank.to(vectors.device)[..., None].expand(-1, -1, vectors.shape[2])
        rows = vectors.gather(1, places).to(self.bank.device)
        keys, values = (part.flatten(0, 1) for part in access.project(rows))
        own = rotate(gather_rows(keys, self.own), angles)
        return Segment(own.transpose(1, 2), gather_rows(values, self.own).transpose(1, 2))


def _bank(spans: Tensor, documents: int, span: int) -> tuple[Tensor, Tensor]:
    """[B, U * s] rows that a document's questions retrieve, each once, and where among all
    documents' such rows [Q, m] a question finds its own."""
    unique = [own.unique() for own in spans.view(documents, -1)]
    width = max(len(one) for one in unique)
    bank = torch.stack([functional.pad(one, (0, width - len(one))) for one in unique])
    within = torch.arange(span, device=spans.device)
    each = len(spans) // documents
    places = torch.stack(
        [
            torch.searchsorted(unique[place // each], own) + (place // each) * width
            for place, own in enumerate(spans)
        ]
    )
    rows = (bank[..., None] * span + within).flatten(1)
    return rows, (places[..., None] * span + within).flatten(1)
