"""Which stored rows or spans hold a note, and how many of them a question retrieved.

Three definitions. *Value*: the rows of the tokens that state the value, of a note from the verb on:
the only ones that can hold the answer, since an earlier row knows nothing of what comes after it.
*Statement*: the rows of all of the note's own tokens. Both need one row per token; where a write
compresses they are all rows of the note's chunks. *Chunk*: all rows of the writes that took in a
token of the note. Each counts only rows that lie in the long-term memory when the question is
asked: those still in the short-term pool are read anyway.

Where spans are retrieved, they are counted instead, once for all layers: those that hold a token of
the value, or of the statement, and those of its writes.

Shapes: n stored rows, m retrieved rows, s rows of a span.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from memplus.data.stream import Told
from memplus.memory.records import WriteRecord
from memplus.memory.span_places import SpanPlaces
from memplus.memory.state import Memory
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.systems.protocol import Recall

__all__ = [
    "CHUNK",
    "STATEMENT",
    "VALUE",
    "NotePlace",
    "note_place",
    "recall",
    "rows_of_note",
    "spans_of_note",
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
    if memory.config.retrieves_spans:
        return _span_recall(memory, prefix, row, told)
    place = note_place(memory, told)
    for layer in memory.long_term.layout.stored:
        table = memory.long_term.books(layer)
        # A layer without long-term rows retrieved nothing.
        retrieved = prefix.retrieved.get((row, layer), table["birth"][:0])
        for name, rows in rows_of_note(table["write_id"], table["birth"], place).items():
            found[name].stored.append(rows.numel())
            found[name].retrieved.append(int(torch.isin(retrieved, rows).sum()))
    return found


@dataclass(frozen=True, slots=True)
class NotePlace:
    """The writes that took in a note, and the births of its own rows, ends included."""

    writes: tuple[int, int]
    births: tuple[int, int] | None
    """None where a write does not make one row per token."""
    value: tuple[int, int] = (0, 0)
    """Births of the first and the last row that state the value."""


def note_place(memory: Memory, told: Told) -> NotePlace | None:
    """Where the rows of a note are to be looked for; None where it was never written."""
    writes = [record for record in memory.writes if _overlaps(record, told)]
    if not writes:
        return None
    first, last = writes[0], writes[-1]
    per_write = memory.config.tokens_per_write
    births, value = None, (0, 0)
    if all(record.tokens == per_write for record in writes):
        # The newest row of a write is born at the clock after it.
        clock = memory.clock - per_write * len(memory.writes)
        zero = clock + per_write * (first.id - 1) - first.start
        behind = clock + per_write * (last.id - 1) - last.start
        births = (zero + told.start + 1, behind + told.end)
        value = (zero + told.stated[0] + 1, behind + told.stated[1])
    return NotePlace((first.id, last.id), births, value)


def rows_of_note(write_id: Tensor, birth: Tensor, place: NotePlace | None) -> dict[str, Tensor]:
    """Indices of the rows that were made of a note, by definition.

    Args:
        write_id: [n] int32.
        birth: [n] int64.
        place: of the note.

    Returns:
        "value", "statement" and "chunk" -> [rows] indices.
    """
    if place is None:
        nothing = torch.zeros(0, dtype=torch.int64, device=birth.device)
        return {VALUE: nothing, STATEMENT: nothing, CHUNK: nothing}
    chunk = ((write_id >= place.writes[0]) & (write_id <= place.writes[1])).nonzero().squeeze(1)
    if place.births is None:
        return {VALUE: chunk, STATEMENT: chunk, CHUNK: chunk}
    born = birth[chunk]
    inside = (born >= place.births[0]) & (born <= place.births[1])
    value = chunk[inside & (born >= place.value[0]) & (born <= place.value[1])]
    return {VALUE: value, STATEMENT: chunk[inside], CHUNK: chunk}


def _span_recall(memory: Memory, prefix: MemoryPrefix, row: int, told: Told) -> dict[str, Recall]:
    """As ``recall``, in spans, which are the same in every layer."""
    size, found = memory.config.span_rows, prefix.span_rows(row)
    chosen = torch.zeros(0, dtype=torch.int64)
    if found is not None:
        first = found[0][::size]
        chosen = first[~found[1][first].isneginf()].cpu() // size
    return {
        name: Recall([len(spans)], [int(torch.isin(chosen, spans).sum())])
        for name, spans in spans_of_note(memory, told).items()
    }


def spans_of_note(memory: Memory, told: Told) -> dict[str, Tensor]:
    """Indices of the stored spans that were made of a note, by definition.

    Args:
        memory: whose config retrieves spans.
        told: where the note was told.

    Returns:
        "value", "statement" and "chunk" -> [spans] indices.
    """
    indices: dict[str, list[int]] = {VALUE: [], STATEMENT: [], CHUNK: []}
    records = {one.id: one for one in memory.writes if _overlaps(one, told)}
    if memory.long_term is not None and records:
        size, table = memory.config.span_rows, memory.long_term.books(0)
        places = SpanPlaces.of(memory)
        ids = table["write_id"][size - 1 :: size].cpu()
        value = replace(told, start=told.stated[0], end=told.stated[1])
        for at in torch.isin(ids, torch.tensor(list(records))).nonzero().flatten().tolist():
            record = records[int(ids[at])]
            birth = int(table.between("birth", at * size + size - 1, at * size + size))
            start, stop = places.tokens(record.id, birth)
            own = replace(record, start=record.start + start, tokens=stop - start)
            indices[CHUNK].append(at)
            for name, part in ((STATEMENT, told), (VALUE, value)):
                if _overlaps(own, part):
                    indices[name].append(at)
    return {name: torch.tensor(found, dtype=torch.int64) for name, found in indices.items()}


def _overlaps(record: WriteRecord, told: Told) -> bool:
    inside = record.start < told.end and told.start < record.start + record.tokens
    return inside and record.source == told.source
