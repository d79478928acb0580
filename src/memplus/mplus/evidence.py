"""Where an answer came from: the attention paid to the rows of each part as the answer began.

A part is a write, or a span of one where spans are retrieved (``mplus.evidence_parts``).

Evidence is measured, not guessed: it is what heads pay beyond what they pay whatever the question.

Shapes: B batch, H heads, G key/value heads, P prefix rows, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from memplus.backbone.attention import AttentionCall, Segment
from memplus.config import SpanRetrieval
from memplus.memory.records import WriteRecord
from memplus.memory.state import Memory
from memplus.memory.written_text import WrittenText
from memplus.mplus.evidence_parts import Parts, SpanParts, WriteParts, parts_of, quoted
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.read import Prefix

__all__ = ["Evidence", "Retrieved", "Seen", "Watch", "ranked", "retrieved_writes"]

_KEPT = 5
_SHARPNESS = 4
"""What a head pays counts by this power."""

Groups = Sequence[tuple[slice, list[Segment]]]
_Keys = tuple[Tensor, Tensor | None]
"""Keys [G, part of P, D] of a segment, and what is added to their scores [part of P]."""


@dataclass(frozen=True)
class Evidence:
    """One write, or span of one, that an answer drew on, or the text that waits to be written."""

    write_id: int | None
    """Id of the write; None for the tail."""
    source: str
    start: int
    """First token of it, counted from the beginning of its source."""
    tokens: int
    share: float
    """Part of what heads paid, each by its fourth power, 0 to 1."""
    text: str = ""
    """What it said, where the memory keeps texts (a memory in a store); always of the tail."""
    first_char: int | None = None
    """Where that text begins, counted from the beginning of its source."""
    score: float | None = None
    """Mean of how well the question's tokens match the span that was retrieved (with ``sharpens``
    another score chose it); None of others, and where rows are retrieved."""


class Watch:
    """Measures the attention that a read pays to the rows of each part as its answers begin.

    Heads park attention on some rows whatever is asked. What the prompt's first token pays, which
    asks nothing yet, is therefore taken off. A plain sum over heads still drowns the few that look
    something up in the many that park; the head that pays most is in a larger model one that
    always pays all it has to what stands nearest. So a head counts by a power of what it pays:
    several that look hard at one part outweigh one, and many that glance. Where spans are
    retrieved, layers below the one that chooses them do not count: they look at what is near.

    Args:
        memories: one per batch row.

    Attributes:
        parts: per batch row what attention is counted for.
        paid: per batch row [parts + 1], what heads paid, each by its power; the first is for rows
            of the model, the last for the tail, which is read as text before the prompt.
    """

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.memories = memories
        self.parts: list[Parts] = [WriteParts(memory) for memory in memories]
        self.paid = [_nothing(len(parts) + 1) for parts in self.parts]
        self._most = [0.0 for _ in memories]
        self.prefix: Prefix = Prefix()
        self._begun: set[int] = set()
        self._first: list[int] = []
        """Per batch row the place of its prompt's first token, in its pass."""

    def sharpest(self, row: int) -> float:
        """Most that any head of a batch row paid to one part, or to the tail."""
        return self._most[row]

    def on(self, prefix: Prefix) -> Watch:
        """Watch the read of this prefix."""
        self.prefix = prefix
        return self

    def __call__(self, call: AttentionCall, groups: Groups) -> None:
        """Take in one layer's attention, once."""
        if call.layer in self._begun:
            return
        if not self._begun:  # what is retrieved is known by now
            rows = enumerate(self.memories)
            self.parts = [parts_of(one, self.prefix, row) for row, one in rows]
            self.paid = [_nothing(len(parts) + 1) for parts in self.parts]
            asked = getattr(self.prefix, "prompt", None)
            blank = [0] * len(self.memories)
            self._first = blank if asked is None else asked.int().argmax(dim=1).tolist()
        self._begun.add(call.layer)
        for row in range(len(self.memories)):
            self._take_in(call, row, _keys_of(groups, row))

    def _take_in(self, call: AttentionCall, row: int, keys: list[_Keys]) -> None:
        waiting = len(self.memories[row].tail)
        if not (keys or waiting):
            return
        first = self._first[row]
        if waiting:
            keys.append((call.key[row, :, first - waiting : first], None))
        beyond = _attention(call, keys, row, -1) - _attention(call, keys, row, first)
        paid = self.paid[row]
        tail = torch.full((waiting,), len(paid) - 1, device="cpu")
        ids = torch.cat([self.parts[row].of_rows(call.layer), tail])
        rows = beyond.clamp(min=0).flatten(0, 1)[:, beyond.shape[2] - ids.shape[0] :].cpu()
        by_part = _nothing(rows.shape[0], len(paid)).index_add_(1, ids, rows)
        self._most[row] = max(self._most[row], float(by_part[:, 1:].amax()))
        if call.layer >= self._lowest(row):
            paid += by_part.pow(_SHARPNESS).sum(dim=0)

    def _lowest(self, row: int) -> int:
        """The first layer that counts."""
        config = self.memories[row].config
        return config.retrieval.layer if isinstance(config.retrieval, SpanRetrieval) else 0


class Seen:
    """Keeps hold of the prefix of one read, to see afterwards what it retrieved."""

    def __init__(self) -> None:
        self.prefix: Prefix = Prefix()

    def on(self, prefix: Prefix) -> None:
        """Keep this prefix; no attention is watched."""
        self.prefix = prefix


def _nothing(*shape: int) -> Tensor:
    """Attention is summed in float32 on the CPU, whatever PyTorch makes by default."""
    return torch.zeros(shape, dtype=torch.float32, device="cpu")


def _keys_of(groups: Groups, row: int) -> list[_Keys]:
    """The prefix that a batch row sees, by its segments."""
    for run, segments in groups:
        if run.start <= row < run.stop:
            place = row - run.start
            return [
                (
                    segment.key[place if segment.key.shape[0] > 1 else 0],
                    None if segment.bias is None else segment.bias[place],
                )
                for segment in segments
            ]
    return []


def _attention(call: AttentionCall, keys: Sequence[_Keys], row: int, token: int) -> Tensor:
    """Weights [G, H / G, P] that one text token of a batch row gives to prefix rows.

    Args:
        call: the layer's call.
        keys: those of each segment; they are many, so none is copied.
        row: of the batch.
        token: whose query.
    """
    width = call.query.shape[-1]
    query = call.query[row, :, token].reshape(keys[0][0].shape[0], -1, width)
    scores = []
    for part, bias in keys:
        found = torch.matmul(query, part.transpose(1, 2)).float() * call.scale
        scores.append(found if bias is None else found + bias)
    return torch.cat(scores, dim=2).softmax(dim=-1)


@dataclass(frozen=True)
class Retrieved:
    """Rows of one write, or span of one, that a question retrieved from the long-term memory."""

    write_id: int
    """0 stands for rows that came with the model."""
    source: str
    start: int
    """First token of it, counted from the beginning of its source."""
    tokens: int
    rows: int
    """Rows retrieved, over all layers."""
    score: float
    """Highest retrieval score among them, 0 to 1; of a span the mean of its best matches."""


def retrieved_writes(memory: Memory, prefix: MemoryPrefix) -> list[Retrieved]:
    """Retrieved rows of batch row 0: by write, most rows first, or by span, best score first."""
    if memory.config.retrieves_spans:
        return _retrieved_spans(memory, prefix)
    counts = torch.zeros(len(memory.writes) + 1, dtype=torch.int64, device="cpu")
    best = _nothing(len(memory.writes) + 1)
    for (row, layer), chosen in prefix.retrieved.items():
        if row != 0 or memory.long_term is None:
            continue
        ids = memory.long_term.books(layer).take("write_id", chosen).long().cpu()
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


def _retrieved_spans(memory: Memory, prefix: MemoryPrefix) -> list[Retrieved]:
    layers = 0 if memory.long_term is None else len(memory.long_term.layout.stored)
    found = []
    for one in SpanParts(memory, prefix, 0).retrieved():
        record = memory.writes[one.write_id - 1]
        place = (record.id, record.source, record.start + one.start, one.stop - one.start)
        found.append(Retrieved(*place, rows=one.rows * layers, score=one.score or 0.0))
    return found


def ranked(
    memory: Memory,
    paid: Tensor,
    decode: Callable[[list[int]], str],
    parts: Parts | None = None,
    texts: Callable[[set[int]], Mapping[int, WrittenText]] | None = None,
) -> list[Evidence]:
    """The parts, and the tail, that were paid most, most first.

    Rows that came with the model are counted in the shares and never named: nobody wrote them.

    Args:
        memory: that was asked.
        paid: [parts + 1] of one row of a ``Watch``.
        decode: token ids -> text, for a tail whose text is not kept, and for spans.
        parts: what was paid; None: the writes.
        texts: what writes said, by id; None: as the memory knows it.
    """
    parts = WriteParts(memory) if parts is None else parts
    total = float(paid.sum())
    order = paid.argsort(descending=True)[: _KEPT + 1].tolist()
    best = [index for index in order if index and paid[index] > 0][:_KEPT]
    wanted = {parts[index].write_id for index in best if index < len(parts)}
    said = (memory.texts if texts is None else texts)(wanted)
    found: list[Evidence] = []
    for index in best:
        share = float(paid[index]) / total
        if index >= len(parts):
            start = memory.source_tokens.get(memory.tail_source, 0)
            text = memory.tail_text or decode(memory.tail)
            tail = Evidence(None, memory.tail_source, start, len(memory.tail), share, text)
            found.append(tail)
            continue
        part = parts[index]
        record = memory.writes[part.write_id - 1]
        place = record.start + part.start, part.stop - part.start
        one = Evidence(record.id, record.source, *place, share, score=part.score)
        if record.id in said:
            text, first_char = quoted(said[record.id], part, decode)
            one = replace(one, text=text, first_char=first_char)
        found.append(one)
    return found
