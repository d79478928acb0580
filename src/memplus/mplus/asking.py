"""Asking a memory, and where the answer came from.

Evidence is measured, not guessed: the attention paid to the rows of each write as the answer began,
beyond what is paid whatever the question, by the head that paid it most.

Shapes: H heads, G key/value heads, P prefix rows, D head width.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from memplus.backbone.attention import AttentionCall, Segment
from memplus.errors import ConfigError, EmptyTextError
from memplus.memory.records import WriteRecord
from memplus.memory.state import Memory
from memplus.mplus.encoding import encode_within
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.read import Prefix

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = [
    "Answer",
    "Answers",
    "Evidence",
    "Retrieved",
    "Seen",
    "Watch",
    "answer",
    "answer_all",
    "encode_question",
    "retrieved_writes",
]

_KEPT = 5


@dataclass(frozen=True)
class Evidence:
    """One write that an answer drew on, or the text that waits to be written."""

    write_id: int | None
    """Id of the write; 0 stands for rows that came with the model, None for the tail."""
    source: str
    start: int
    """First token of the write, counted from the beginning of its source."""
    tokens: int
    share: float
    """Part of the attention counted, 0 to 1."""
    text: str = ""
    """What the write said, where the memory keeps texts (a memory in a store); always of the
    tail."""
    first_char: int | None = None
    """Where that text begins, counted from the beginning of its source."""


@dataclass(frozen=True)
class Answer:
    """An answer and what it stands on."""

    text: str
    evidence: list[Evidence] = field(default_factory=list)
    """Writes, and the tail, by attention paid, most first."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds: ``total``."""
    confidence: float = 0.0
    """Most attention, 0 to 1, that any head paid to one write as the answer began, beyond what it
    pays whatever is asked; 0 where nothing was written."""
    withheld: str = ""
    """The answer that was not confident enough to be given; ``text`` is then the abstention."""

    def __str__(self) -> str:
        return self.text


class Watch:
    """Measures the attention that one read pays to the rows of each write as its answer begins.

    Heads park attention on some rows whatever is asked. What the prompt's first token pays, which
    asks nothing yet, is therefore taken off; and of all heads the one that pays most counts, since
    a sum over heads drowns the few that look something up in the many that park.

    Attributes:
        paid: [writes + 2], most of any head of any layer; the first is for rows of the model, the
            last for the tail, which is read as text before the prompt.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.paid = torch.zeros(len(memory.writes) + 2)
        self._prefix: Prefix = Prefix()
        self._begun: set[int] = set()

    @property
    def sharpest(self) -> float:
        """Most that any head paid to one write, or to the tail."""
        return float(self.paid[1:].max())

    def on(self, prefix: Prefix) -> Watch:
        """Watch the read of this prefix."""
        self._prefix = prefix
        return self

    def __call__(self, call: AttentionCall, groups: Sequence[tuple[slice, list[Segment]]]) -> None:
        """Take in one layer's attention, once."""
        layer, waiting = call.layer, len(self.memory.tail)
        keys = [key[0] for key, _ in groups[0][1]] if groups else []
        if layer in self._begun or not (keys or waiting):
            return
        self._begun.add(layer)
        if waiting:
            keys.append(call.key[0, :, :waiting])
        asked = getattr(self._prefix, "prompt", None)
        first = 0 if asked is None else int(asked[0].int().argmax())
        beyond = (_attention(call, keys, -1) - _attention(call, keys, first)).clamp(min=0)
        tail = torch.full((waiting,), len(self.paid) - 1)
        ids = torch.cat([self._write_ids(layer), tail])
        rows = beyond.flatten(0, 1)[:, beyond.shape[2] - ids.shape[0] :].cpu()
        by_write = torch.zeros((rows.shape[0], len(self.paid))).index_add_(1, ids, rows)
        self.paid = torch.maximum(self.paid, by_write.amax(dim=0))

    def _write_ids(self, layer: int) -> Tensor:
        """Write id of every row after bos, in the order of the segments."""
        parts: list[Tensor] = []
        prefix = self._prefix
        chosen = prefix.retrieved.get((0, layer)) if isinstance(prefix, MemoryPrefix) else None
        if chosen is not None and self.memory.long_term is not None:
            parts.append(self.memory.long_term.tables[layer].take("write_id", chosen))
        pool = self.memory.pool
        if pool is not None:
            parts.append(pool.write_id[layer, : pool.count])
        ids = torch.cat(parts) if parts else torch.zeros(0)
        return ids.long().cpu()


def _attention(call: AttentionCall, keys: Sequence[Tensor], token: int) -> Tensor:
    """Weights [G, H / G, P] that one text token of batch row 0 gives to prefix rows.

    Args:
        call: the layer's call.
        keys: [G, part of P, D] each; they are many, so none is copied.
        token: whose query.
    """
    width = call.query.shape[-1]
    query = call.query[0, :, token].reshape(keys[0].shape[0], -1, width)
    scores = [torch.matmul(query, part.transpose(1, 2)) for part in keys]
    return (torch.cat(scores, dim=2).float() * call.scale).softmax(dim=-1)


def answer(
    model: MPlus, memory: Memory, question: str, max_new_tokens: int, min_confidence: float = 0.0
) -> Answer:
    """See ``MPlus.ask``."""
    if not 0.0 <= min_confidence <= 1.0:
        raise ConfigError("min_confidence", value=min_confidence, reason="it is not in 0 to 1")
    started = time.perf_counter()
    ids = torch.tensor([encode_question(model, question)], device=model.device)
    output, watch = model.generate_watched(ids, memory, max_new_tokens)
    text = str(model.tokenizer.decode(output[0, ids.shape[1] :].tolist(), skip_special_tokens=True))
    text = _until_stop(model, text)
    withheld = "" if watch.sharpest >= min_confidence else text
    return Answer(
        model.prompt.abstention if withheld else text,
        _ranked(model, memory, watch.paid),
        {"total": time.perf_counter() - started},
        watch.sharpest,
        withheld,
    )


def _until_stop(model: MPlus, text: str) -> str:
    """What was generated, up to where the prompt's config says that an answer ends."""
    for stop in model.prompt.stop:
        text = text.partition(stop)[0] if text.strip() else text
    return text.strip()


class Seen:
    """Keeps hold of the prefix of one read, to see afterwards what it retrieved."""

    def __init__(self) -> None:
        self.prefix: Prefix = Prefix()

    def on(self, prefix: Prefix) -> None:
        """Keep this prefix; no attention is watched."""
        self.prefix = prefix


@dataclass(frozen=True)
class Answers:
    """Answers to several questions that one memory was asked together."""

    texts: list[str]
    """Up to the prompt's stops, as ``Answer.text``."""
    generated: list[str]
    """All that was generated."""
    prefix: MemoryPrefix
    """What every question retrieved, by its place in the batch."""


def answer_all(
    model: MPlus, memory: Memory, questions: Sequence[str], max_new_tokens: int | None = None
) -> Answers:
    """Put several questions to one memory in one batch; each answer is as if asked alone.

    Cheaper than asking in turn, and without evidence.

    Raises:
        EmptyTextError, PositionsError, TokenizerMissingError.
    """
    asked = [encode_question(model, question) for question in questions]
    width = max(len(ids) for ids in asked)
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in asked])
    padded = torch.tensor([[0] * (width - len(ids)) + ids for ids in asked])
    count = max_new_tokens or model.prompt.max_new_tokens
    output, prefix = model.generate_seen(padded, memory, mask, count)
    assert isinstance(prefix, MemoryPrefix)
    generated: list[str] = model.tokenizer.batch_decode(
        output[:, width:].tolist(), skip_special_tokens=True
    )
    return Answers([_until_stop(model, text) for text in generated], generated, prefix)


def encode_question(model: MPlus, question: str) -> list[int]:
    """Token ids of a question in the model's template.

    Raises:
        EmptyTextError, BrokenTextError, TokenizerMissingError.
    """
    if not question.strip():
        raise EmptyTextError("The question")
    return encode_within(model.tokenizer, model.prompt.template, question.strip())


@dataclass(frozen=True)
class Retrieved:
    """Rows of one write that a question retrieved from the long-term memory."""

    write_id: int
    """0 stands for rows that came with the model."""
    source: str
    start: int
    """First token of the write, counted from the beginning of its source."""
    tokens: int
    rows: int
    """Rows retrieved, over all layers."""
    score: float
    """Highest retrieval score among them, 0 to 1."""


def retrieved_writes(memory: Memory, prefix: MemoryPrefix) -> list[Retrieved]:
    """Retrieved rows of batch row 0, by write, most rows first."""
    counts = torch.zeros(len(memory.writes) + 1, dtype=torch.int64)
    best = torch.zeros(len(memory.writes) + 1)
    for (row, layer), chosen in prefix.retrieved.items():
        if row != 0 or memory.long_term is None:
            continue
        ids = memory.long_term.tables[layer].take("write_id", chosen).long().cpu()
        counts.index_add_(0, ids, torch.ones_like(ids))
        scores = prefix.scores[row, layer][chosen].float().cpu()
        best.scatter_reduce_(0, ids, scores, reduce="amax")
    order = [i for i in counts.argsort(descending=True, stable=True).tolist() if counts[i]]
    blank = WriteRecord(0, "", 0, 0)
    records = [memory.writes[i - 1] if i else blank for i in order]
    return [
        Retrieved(r.id, r.source, r.start, r.tokens, int(counts[i]), float(best[i]))
        for i, r in zip(order, records, strict=True)
    ]


def _ranked(model: MPlus, memory: Memory, paid: Tensor) -> list[Evidence]:
    total = float(paid.sum())
    best = [index for index in paid.argsort(descending=True)[:_KEPT].tolist() if paid[index] > 0]
    said = memory.texts(index for index in best if index <= len(memory.writes))
    found: list[Evidence] = []
    for index in best:
        share = float(paid[index]) / total
        if index > len(memory.writes):
            start = memory.source_tokens.get(memory.tail_source, 0)
            text = memory.tail_text or model.decode(memory.tail)
            tail = Evidence(None, memory.tail_source, start, len(memory.tail), share, text)
            found.append(tail)
            continue
        record = memory.writes[index - 1] if index else WriteRecord(0, "", 0, 0)
        one = Evidence(record.id, record.source, record.start, record.tokens, share)
        if index in said:
            one = replace(one, text=said[index].text, first_char=said[index].first_char)
        found.append(one)
    return found
