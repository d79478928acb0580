"""Which stored rows hold a note, and how many of them a question retrieved.

Three definitions. *Value*: the rows of the tokens that state the value, from the verb on: the only
ones that can hold the answer, since an earlier row knows nothing of what comes after it.
*Statement*: the rows of all of the note's own tokens. Both need one row per token; where a write
compresses they are all rows of the note's chunks. *Chunk*: all rows of the writes that took in a
token of the note. Each counts only rows that lie in the long-term memory when the question is
asked: those still in the short-term pool are read anyway.

Shapes: n stored rows, m retrieved rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.data.stream import Told
from memplus.memory.records import WriteRecord
from memplus.memory.state import Memory
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.systems.protocol import Recall

__all__ = [
    "CHUNK",
    "STATEMENT",
    "VALUE",
    "NoteSpans",
    "note_spans",
    "recall",
    "rows_of_note",
]

VALUE, STATEMENT, CHUNK = "value", "statement", "chunk"


def recall(memory: Memory, prefix: MemoryPrefix, row: int, told: Told) -> dict[str, Recall]:
    """What one question retrieved of the note that answers it, by definition.

    Args:
        memory: as it was asked.
        prefix: of that read.
        row: the question's place in the batch.
        told: where the note was told.
    """
    found = {name: Recall([], []) for name in (VALUE, STATEMENT, CHUNK)}
    if memory.long_term is None:
        return found
    spans = note_spans(memory, told)
    for layer, table in enumerate(memory.long_term.tables):
        # A layer without long-term rows retrieved nothing.
        retrieved = prefix.retrieved.get((row, layer), table["birth"][:0])
        for name, rows in rows_of_note(table["write_id"], table["birth"], spans).items():
            found[name].stored.append(rows.numel())
            found[name].retrieved.append(int(torch.isin(retrieved, rows).sum()))
    return found


@dataclass(frozen=True, slots=True)
class NoteSpans:
    """The writes that took in a note, and the births of its own rows, ends included."""

    writes: tuple[int, int]
    births: tuple[int, int] | None
    """None where a write does not make one row per token."""
    value: int = 0
    """Birth of the first row that states the value."""


def note_spans(memory: Memory, told: Told) -> NoteSpans | None:
    """Where the rows of a note are to be looked for; None where it was never written."""
    writes = [record for record in memory.writes if _overlaps(record, told)]
    if not writes:
        return None
    first, last = writes[0], writes[-1]
    per_write = memory.config.tokens_per_write
    births, value = None, 0
    if all(record.tokens == per_write for record in writes):
        # The newest row of a write is born at the clock after it.
        clock = memory.clock - per_write * len(memory.writes)
        zero = clock + per_write * (first.id - 1) - first.start
        births = (
            zero + told.start + 1,
            clock + per_write * (last.id - 1) + told.end - last.start,
        )
        value = zero + (told.start if told.value is None else told.value) + 1
    return NoteSpans((first.id, last.id), births, value)


def rows_of_note(write_id: Tensor, birth: Tensor, spans: NoteSpans | None) -> dict[str, Tensor]:
    """Indices of the rows that were made of a note, by definition.

    Args:
        write_id: [n] int32.
        birth: [n] int64.
        spans: of the note.

    Returns:
        "value", "statement" and "chunk" -> [rows] indices.
    """
    if spans is None:
        nothing = torch.zeros(0, dtype=torch.int64, device=birth.device)
        return {VALUE: nothing, STATEMENT: nothing, CHUNK: nothing}
    chunk = ((write_id >= spans.writes[0]) & (write_id <= spans.writes[1])).nonzero().squeeze(1)
    if spans.births is None:
        return {VALUE: chunk, STATEMENT: chunk, CHUNK: chunk}
    born = birth[chunk]
    inside = (born >= spans.births[0]) & (born <= spans.births[1])
    value = chunk[inside & (born >= spans.value)]
    return {VALUE: value, STATEMENT: chunk[inside], CHUNK: chunk}


def _overlaps(record: WriteRecord, told: Told) -> bool:
    inside = record.start < told.end and told.start < record.start + record.tokens
    return inside and record.source == told.source
