"""What the rows of a read were made of: the parts that attention to them is counted for.

A part is a write where rows are retrieved, and a span where spans are. Index 0 stands for rows that
came with the model, which are nobody's writing.

Shapes: n rows of a prefix after bos, m retrieved rows, s rows of a span.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from memplus.memory.span_places import SpanPlaces
from memplus.memory.state import Memory
from memplus.memory.written_text import WrittenText
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.read import Prefix

__all__ = ["Part", "Parts", "SpanParts", "WriteParts", "parts_of", "quoted"]


@dataclass(frozen=True)
class Part:
    """Some tokens of one write."""

    write_id: int
    start: int
    """First token, counted from the beginning of the write."""
    stop: int
    """The token after the last."""
    score: float | None = None
    """See ``Evidence.score``; None where it was not retrieved, or row by row."""
    rows: int = 0
    """How many of its rows were retrieved, in one layer; counted for spans alone."""


class Parts(Protocol):
    """The parts of one batch row."""

    def __len__(self) -> int:
        """Parts, index 0 included."""
        ...

    def __getitem__(self, index: int) -> Part:
        """The part of an index from 1 on."""
        ...

    def of_rows(self, layer: int) -> Tensor:
        """[n]: index of the part of every row after bos, in the order of the prefix's segments."""
        ...


def parts_of(memory: Memory, prefix: Prefix, row: int) -> Parts:
    """The parts that a batch row reads.

    Args:
        memory: that it reads.
        prefix: of the read.
        row: its place in the batch.
    """
    spans = memory.config.retrieves_spans
    return (SpanParts if spans else WriteParts)(memory, prefix, row)


class WriteParts:
    """A part for each write, numbered as the writes are; arguments as ``parts_of``."""

    def __init__(self, memory: Memory, prefix: Prefix | None = None, row: int = 0) -> None:
        self._memory, self._prefix, self._row = memory, prefix, row

    def __len__(self) -> int:
        return len(self._memory.writes) + 1

    def __getitem__(self, index: int) -> Part:
        return Part(index, 0, self._memory.writes[index - 1].tokens)

    def of_rows(self, layer: int) -> Tensor:
        """See ``Parts.of_rows``."""
        memory, prefix = self._memory, self._prefix
        found: list[Tensor] = []
        chosen = None
        if isinstance(prefix, MemoryPrefix):
            chosen = prefix.retrieved.get((self._row, layer))
        if chosen is not None and memory.long_term is not None:
            found.append(memory.long_term.books(layer).take("write_id", chosen))
        pool = memory.pool
        if pool is not None:
            found.append(pool.write_id[layer, : pool.count])
        ids = torch.cat(found) if found else torch.zeros(0, device="cpu")
        return ids.long().cpu()


class SpanParts:
    """A part for each span of the read, retrieved ones first; arguments as ``parts_of``.

    Spans of a write that keeps fewer rows than it took in tokens are one part: all of the write.
    """

    def __init__(self, memory: Memory, prefix: Prefix, row: int) -> None:
        self._memory = memory
        self._places = SpanPlaces.of(memory)
        self._index: dict[tuple[int, int, int], int] = {}
        self._parts: list[Part] = [Part(0, 0, 0)]
        retrieved, own = self._retrieved(prefix, row), self._short_term()
        self._rows = torch.cat([retrieved, own])
        self._own = own

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> Part:
        return self._parts[index]

    def of_rows(self, layer: int) -> Tensor:
        """See ``Parts.of_rows``; alike in every layer that keeps rows."""
        pool = self._memory.long_term
        return self._rows if pool is None or layer in pool.layout.stored else self._own

    def retrieved(self) -> list[Part]:
        """The parts that were retrieved, best score first."""
        found = [one for one in self._parts if one.score is not None]
        return sorted(found, key=lambda one: -(one.score or 0.0))

    def _retrieved(self, prefix: Prefix, row: int) -> Tensor:
        """Index of the part of every retrieved row [m]."""
        found = prefix.span_rows(row) if isinstance(prefix, MemoryPrefix) else None
        long_term, size = self._memory.long_term, self._memory.config.span_rows
        if found is None or long_term is None:
            return torch.zeros(0, dtype=torch.int64, device="cpu")
        rows, scores = found
        last = rows[size - 1 :: size]
        births, ids = (long_term.books(0).take(name, last) for name in ("birth", "write_id"))
        # One that a later span replaces only fills a place: it was not retrieved to be read.
        read = [None if score == -math.inf else score for score in scores[last].tolist()]
        indices = [
            self._numbered(*one) for one in zip(ids.tolist(), births.tolist(), read, strict=True)
        ]
        return torch.tensor(indices, dtype=torch.int64, device="cpu").repeat_interleave(size)

    def _short_term(self) -> Tensor:
        """Index of the part of every row of the pool, slot by slot."""
        pool, size = self._memory.pool, self._memory.config.span_rows
        if pool is None:
            return torch.zeros(0, dtype=torch.int64, device="cpu")
        slots = pool.slot_order()[0, : pool.count][size - 1 :: size]
        births, ids = pool.birth[0, slots].tolist(), pool.write_id[0, slots].tolist()
        numbers = [self._numbered(*one) for one in zip(ids, births, strict=True)]
        indices = torch.tensor(numbers, dtype=torch.int64, device="cpu")  # maybe of no rows
        return indices[pool.position[0, : pool.count].cpu() // size]

    def _numbered(self, write_id: int, birth: int, score: float | None = None) -> int:
        """The index of the part that a span belongs to."""
        if write_id == 0:
            return 0
        place = (write_id, *self._places.tokens(write_id, birth))
        index = self._index.setdefault(place, len(self._parts))
        if index == len(self._parts):
            self._parts.append(Part(*place))
        if score is not None:
            known = self._parts[index]
            best = score if known.score is None else max(score, known.score)
            rows = known.rows + self._memory.config.span_rows
            self._parts[index] = Part(*place, best, rows)
        return index


def quoted(
    said: WrittenText, part: Part, decode: Callable[[list[int]], str]
) -> tuple[str, int | None]:
    """What a part of a write says, and where that begins in its source.

    Args:
        said: the write.
        part: of it.
        decode: token ids -> text.

    Returns:
        The text as it was written, and its first character, counted from the beginning of the
        source; None where the tokens do not tell it, and the text is then theirs alone.
    """
    if not said.ids or (part.start, part.stop) == (0, said.tokens):
        return said.text, said.first_char
    first, last = (_decoded(said.ids[:stop], decode) for stop in (part.start, part.stop))
    if said.text.startswith(last) and last.startswith(first):
        return last[len(first) :], said.first_char + len(first)
    own = decode(list(said.ids[part.start : part.stop])).strip("\ufffd")
    at = said.text.find(own)
    alone = at >= 0 and said.text.find(own, at + 1) < 0
    return own, said.first_char + at if alone else None


def _decoded(ids: Iterable[int], decode: Callable[[list[int]], str]) -> str:
    """The text of ids; a character that they only begin is left to those that end it."""
    return decode(list(ids)).rstrip("\ufffd")
