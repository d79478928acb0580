"""Forgetting on request: every row that some writes left, taken out of a memory.

Sources never share a chunk, so nobody else's rows go with them. A chunk shorter than K fills up
with older rows, computed again, or in spans with its own, which earlier versions did not do: what a
later write computed again from forgotten rows goes too. What stays is the trace that later writes
carry, which attended to the newest rows of their time; only writing them again removes it.

Shapes: L layers, N slots, n rows in use, K rows of a write, d hidden size.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.errors import UnknownSourceError, UsageError
from memplus.memory.births import WriteBirths, computed_again
from memplus.memory.contents import MemoryContents
from memplus.memory.records import WriteRecord

__all__ = ["Chosen", "Forgotten", "chosen_writes", "forget_rows", "sources_named", "write_ids"]


@dataclass(frozen=True)
class Forgotten:
    """What went."""

    writes: tuple[int, ...]
    """Their ids, ascending."""
    short_term_rows: int
    """Over all layers."""
    long_term_rows: int
    """Over all layers."""
    tail_tokens: int


@dataclass(frozen=True)
class Chosen:
    """What is to be forgotten."""

    writes: set[int]
    """Ids."""
    tail: bool
    """Whether the tail goes too."""


def chosen_writes(
    memory: MemoryContents, source: str | None, write: int | Iterable[int] | None
) -> Chosen:
    """What a source or ids of writes name.

    Raises:
        UnknownSourceError: nothing was written under that name.
        UsageError: there is no such write.
    """
    ids: set[int] = set()
    tail = False
    if source is not None:
        known = dict.fromkeys(record.source for record in memory.writes if record.tokens)
        if memory.tail:
            known[memory.tail_source] = None
        names = sources_named(known, source)
        ids |= {record.id for record in memory.writes if record.source in names and record.tokens}
        tail = bool(memory.tail) and memory.tail_source in names
    if write is not None:
        given = write_ids(write)
        unknown = sorted(one for one in given if not 1 <= one <= len(memory.writes))
        if unknown:
            raise UsageError(f"There is no write {unknown[0]}; there are {len(memory.writes)}.")
        ids |= given
    return Chosen(ids, tail)


def write_ids(write: int | Iterable[int]) -> set[int]:
    """Ids of writes as a caller gives them.

    Raises:
        UsageError: something else is among them.
    """
    given = set(write) if isinstance(write, Iterable) else {write}
    for one in given:
        if not isinstance(one, int) or isinstance(one, bool):
            raise UsageError(f"A write is named by its number, not by {one!r}.")
    return given


def sources_named(known: Collection[str], source: str) -> set[str]:
    """The source itself; where there is none, those whose names are equivalent in Unicode.

    Args:
        known: names of all sources, in order of writing.
        source: the name that was given.

    Raises:
        UnknownSourceError: nothing was written under that name.
        UsageError: it is no text.
    """
    if not isinstance(source, str):
        raise UsageError(f"The name of a source is text, not {type(source).__name__}.")
    if source in known:
        return {source}
    plain = unicodedata.normalize("NFC", source)
    alike = {name for name in known if unicodedata.normalize("NFC", name) == plain}
    if not alike:
        raise UnknownSourceError(source, known=list(known))
    return alike


def forget_rows(memory: MemoryContents, writes: Iterable[int], *, tail: bool) -> Forgotten:
    """Take out every row of some writes, and the tail if asked.

    Layers keep equal numbers of short-term rows: where fewer of a layer's rows were forgotten
    than of another's, its oldest ones are dropped as a write would drop them.
    """
    ids = sorted(set(writes))
    births = WriteBirths(memory)
    going = [one for one in ids if births.text.own[one - 1]]
    again, newest = computed_again(memory, going, births)
    gone = torch.tensor(ids, dtype=torch.int32, device=memory.owner.device)
    before = memory.short_term_rows
    layers = 0 if memory.pool is None else memory.pool.layers
    surplus: list[dict[str, Tensor]] = []
    short = long = 0
    if memory.pool is not None and ids:
        recent = torch.tensor(newest[: memory.pool.recent.shape[1]][::-1], dtype=torch.bool)
        surplus = memory.pool.forget(gone, ~recent.to(memory.owner.device), again)
        moved = sum(len(rows["birth"]) for rows in surplus)
        short = layers * (before - memory.pool.count) - moved
    if memory.long_term is not None and ids:
        long = memory.long_term.forget(gone, again)
        beside = {} if memory.pool is None else memory.pool.held
        for layer, rows in enumerate(surplus):
            memory.long_term.take_back(layer, rows, beside)
    memory.writes = list(memory.writes)
    for one in ids:
        memory.writes[one - 1] = WriteRecord(one, "", 0, 0)
    left = {record.source for record in memory.writes if record.tokens}
    waiting = len(memory.tail) if tail else 0
    if tail:
        memory.tail = []
    if memory.tail:
        left.add(memory.tail_source)
    else:
        memory.tail_text = ""
        if tail or memory.tail_source not in left:  # of what is forgotten not even the name stays
            memory.tail_source = ""
    memory.source_tokens = {s: n for s, n in memory.source_tokens.items() if s in left}
    memory.derived.clear()
    memory.version += 1
    return Forgotten(tuple(ids), short, long, waiting)
