"""Asking a memory, and where the answer came from.

Evidence is measured, not guessed: the attention that the answer's tokens paid to rows, summed
over layers and heads, by the write that made them.

Shapes: H heads, G key/value heads, P prefix rows, D head width.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from memplus.backbone.attention import AttentionCall, Segment
from memplus.errors import EmptyTextError
from memplus.memory.state import Memory
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.read import Prefix

if TYPE_CHECKING:
    from memplus.model import MPlus

__all__ = ["Answer", "Evidence", "Watch", "answer"]

_KEPT = 5


@dataclass(frozen=True)
class Evidence:
    """One write that an answer drew on."""

    write_id: int
    """Id of the write; 0 stands for rows that came with the model."""
    source: str
    start: int
    """First token of the write, counted from the beginning of its source."""
    tokens: int
    share: float
    """Part of the attention paid to memory rows, 0 to 1."""


@dataclass(frozen=True)
class Answer:
    """An answer and what it stands on."""

    text: str
    evidence: list[Evidence] = field(default_factory=list)
    """Writes by attention paid, most first."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds: ``total``."""

    def __str__(self) -> str:
        return self.text


class Watch:
    """Adds up the attention that one read pays to the rows of each write.

    Attributes:
        paid: [writes + 1], over layers, heads and tokens; 0 is for rows of the model.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.paid = torch.zeros(len(memory.writes) + 1)
        self._prefix: Prefix = Prefix()

    def on(self, prefix: Prefix) -> Watch:
        """Watch the read of this prefix."""
        self._prefix = prefix
        return self

    def __call__(self, call: AttentionCall, groups: Sequence[tuple[slice, list[Segment]]]) -> None:
        """Add one layer's attention of the newest token."""
        if not groups or not groups[0][1]:
            return
        layer = call.layer
        keys = torch.cat([key for key, _ in groups[0][1]], dim=2)[0]
        query = call.query[0, :, -1]
        query = query.reshape(keys.shape[0], -1, keys.shape[2])
        scores = torch.matmul(query, keys.transpose(1, 2)).float() * call.scale
        weights = scores.softmax(dim=-1).sum(dim=(0, 1)).cpu()
        ids = self._write_ids(layer)
        rows = weights[weights.shape[0] - ids.shape[0] :]
        self.paid.index_add_(0, ids, rows)

    def _write_ids(self, layer: int) -> Tensor:
        """Write id of every row after bos, in the order of the segments."""
        parts: list[Tensor] = []
        prefix = self._prefix
        chosen = prefix.retrieved.get((0, layer)) if isinstance(prefix, MemoryPrefix) else None
        if chosen is not None and self.memory.store is not None:
            parts.append(self.memory.store.tables[layer]["write_id"][chosen])
        pool = self.memory.pool
        if pool is not None:
            parts.append(pool.write_id[layer, : pool.count])
        ids = torch.cat(parts) if parts else torch.zeros(0)
        return ids.long().cpu()


def answer(model: MPlus, memory: Memory, question: str, max_new_tokens: int) -> Answer:
    """See ``MPlus.ask``."""
    if not question.strip():
        raise EmptyTextError("The question")
    started = time.perf_counter()
    prompt = model.encode(model.prompt.template.format(question=question.strip()))
    ids = torch.tensor([prompt], device=model.device)
    output, paid = model.generate_watched(ids, memory, max_new_tokens)
    text = str(model.tokenizer.decode(output[0, ids.shape[1] :].tolist(), skip_special_tokens=True))
    for stop in model.prompt.stop:
        text = text.partition(stop)[0] if text.strip() else text
    seconds = time.perf_counter() - started
    return Answer(text.strip(), _ranked(memory, paid), {"total": seconds})


def _ranked(memory: Memory, paid: Tensor) -> list[Evidence]:
    total = float(paid.sum())
    if total <= 0:
        return []
    found: list[Evidence] = []
    for index in paid.argsort(descending=True)[:_KEPT].tolist():
        share = float(paid[index]) / total
        if share <= 0:
            break
        if index == 0:
            found.append(Evidence(0, "", 0, 0, share))
            continue
        record = memory.writes[index - 1]
        found.append(Evidence(record.id, record.source, record.start, record.tokens, share))
    return found
