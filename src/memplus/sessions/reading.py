"""Documents written into a memory, one after the other, stoppable between two chunks.

A document is written once: what its source already holds is skipped, so a reading that was stopped
is resumed by the same call, and gives the memory that it would have given undisturbed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memplus.data.documents import Document
from memplus.errors import SourceChangedError, UsageError
from memplus.memory.records import WriteRecord
from memplus.memory.state import Memory
from memplus.mplus.writer import Writer
from memplus.sessions.inspection import estimated_tokens

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["STREAMS", "Reading", "parts_to_come", "write_documents"]

STREAMS = ("-",)
"""Sources that are no document: whatever comes under such a name is another text."""
_OFF = 20
"""An estimate is off by one part in so many, at most."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was written: counts are of this reading alone, ``waiting`` is the memory's tail."""

    tokens: int
    """Written as chunks, an older tail among them."""
    writes: int
    waiting: int
    interrupted: bool
    taken: int = 0
    """Tokens of the documents that the memory took in, as chunks or into its tail."""
    skipped: tuple[str, ...] = ()
    """Sources that held all of their document already."""
    resumed: tuple[str, ...] = ()
    """Sources that held the beginning of their document; only the rest was written."""
    replaced: tuple[str, ...] = ()
    """Sources that were forgotten first."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a document is to be written."""

    text: str | list[int]
    """Empty where its source holds all of it."""
    forget: bool = False
    resumed: bool = False


class _Stopped(Exception):
    """Leaves a write between two chunks; never leaves this file."""


def write_documents(
    model: MPlus,
    memory: Memory,
    documents: Sequence[Document],
    *,
    flush: bool = False,
    replace: bool = False,
    after: Callable[[str, int, int], bool] | None = None,
) -> Reading:
    """Write documents in order; what was written before a stop stays in the memory.

    Args:
        model: the model.
        memory: is changed.
        documents: each is its own source.
        flush: write the rest of each document that fills no chunk, too.
        replace: forget what the sources of the documents hold, and write them anew.
        after: called with (source, tokens written, tokens in all) after each chunk; what it returns
            is whether the reading ends there.

    Raises:
        UsageError: two different documents have one source; nothing was written.
        SourceChangedError: a source holds another text than its document; nothing was written.
        BudgetError: a document would outgrow the memory's budget; those before it are written, and
            what it was to replace is there.
        EmptyTextError: a document says nothing; likewise.
    """
    documents = list(dict.fromkeys(documents))
    names = Counter(one.source for one in documents if one.source not in STREAMS)
    for document in documents:  # refuses before anything is written
        if names[document.source] > 1:
            raise UsageError(f"Two different documents have the same source {document.source!r}.")
        _part(model, memory, document, replace=replace)
    skipped, resumed, replaced = [], [], []
    interrupted = False
    tokens, taken, writes = 0, 0, len(memory.writes)
    for document in documents:

        def progress(done: int, total: int, source: str = document.source) -> None:
            if after is not None and after(source, done, total):
                raise _Stopped

        part = _part(model, memory, document, replace=replace)
        if part.forget:
            _require_writable(model, memory, document, flush=flush)
            memory.forget(source=document.source)
            replaced.append(document.source)
        if part.resumed:
            resumed.append(document.source)
        held = memory.tokens, len(memory.tail)
        text, waited = part.text, None
        if not text:
            skipped.append(document.source)
            if not (flush and memory.tail and memory.tail_source == document.source):
                continue
            text, waited = memory.tail, (memory.tail, memory.tail_text)
            memory.tail, memory.tail_text = [], ""  # it is about to be written
        try:
            model.write(memory, text, source=document.source, flush=flush, progress=progress)
        except _Stopped:
            interrupted = True
            break
        except BaseException:
            if waited is not None and memory.tokens == held[0]:  # refused: it waits again
                memory.tail, memory.tail_text = waited
            raise
        finally:
            tokens += memory.tokens - held[0]
            taken += memory.tokens + len(memory.tail) - sum(held)
    return Reading(
        tokens=tokens,
        writes=len(memory.writes) - writes,
        waiting=len(memory.tail),
        interrupted=interrupted,
        taken=taken,
        skipped=tuple(skipped),
        resumed=tuple(resumed),
        replaced=tuple(replaced),
    )


def parts_to_come(
    model: MPlus, memory: Memory, documents: Sequence[Document]
) -> list[tuple[str, int]]:
    """Sources of documents, each with about how many tokens longer its document is than what it
    holds; those that hold theirs are left out."""
    held: Counter[str] = Counter({memory.tail_source: len(memory.tail)})
    for record in memory.writes:
        held[record.source] += record.tokens
    parts = []
    for document in dict.fromkeys(documents):
        tokens = estimated_tokens(model, [document.text])
        there = 0 if document.source in STREAMS else held[document.source]
        left = tokens - there
        if left > tokens // _OFF:
            parts.append((document.source, left))
    return parts


def _part(model: MPlus, memory: Memory, document: Document, *, replace: bool) -> _Part:
    """What of a document its source does not hold yet.

    Raises:
        SourceChangedError: the source holds another text.
    """
    source = document.source
    records = [record for record in memory.writes if record.source == source and record.tokens]
    tail = memory.tail if memory.tail_source == source else []
    held = sum(record.tokens for record in records) + len(tail)
    if not held:
        return _Part(document.text)
    if replace:
        return _Part(document.text, forget=True)
    if source in STREAMS:
        return _Part(document.text)
    ids, ends = model.core.encode_with_ends(document.text)
    if not _begins(ids, memory, records, tail):
        raise SourceChangedError(source, held=held)
    if held == len(ids):
        return _Part("")
    rest = "" if ends is None else document.text[ends[held - 1] :]
    same = bool(rest.strip()) and model.encode(rest) == ids[held:]
    return _Part(rest if same else ids[held:], resumed=True)


def _require_writable(model: MPlus, memory: Memory, document: Document, *, flush: bool) -> None:
    """Refuse what could not take the place of what its source holds, before that is forgotten.

    Raises:
        EmptyTextError, BudgetError: as ``MPlus.write``.
    """
    without = memory
    if memory.max_bytes is not None:  # what is forgotten makes room
        without = memory.fork()
        without.forget(source=document.source)
    Writer(model.core).plan(without, document.text, document.source, flush=flush)


def _begins(
    ids: list[int], memory: Memory, records: Sequence[WriteRecord], tail: list[int]
) -> bool:
    """Whether a document begins with what its source holds: these writes, then this tail.

    A memory that keeps no texts knows only how many tokens were written: then the number counts.
    """
    written = sum(record.tokens for record in records)
    held = written + len(tail)
    if held > len(ids) or ids[written:held] != tail:
        return False
    texts = memory.texts(record.id for record in records)
    if all(record.id in texts for record in records):
        return [token for record in records for token in texts[record.id].ids] == ids[:written]
    return memory.source_tokens.get(records[0].source) == written  # no write of it was forgotten
