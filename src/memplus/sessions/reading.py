"""Documents written into a memory, one after the other, stoppable between two chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memplus.data.documents import Document
from memplus.memory.state import Memory

if TYPE_CHECKING:
    from memplus.mplus.model import MPlus

__all__ = ["Reading", "write_documents"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was written: counts are of this reading alone, ``waiting`` is the memory's tail."""

    tokens: int
    writes: int
    waiting: int
    interrupted: bool


class _Stopped(Exception):
    """Leaves a write between two chunks; never leaves this file."""


def write_documents(
    model: MPlus,
    memory: Memory,
    documents: Sequence[Document],
    *,
    flush: bool = False,
    report: Callable[[str, int, int], None],
    stopped: Callable[[], bool],
) -> Reading:
    """Writes documents in order; what was written before a stop stays in the memory.

    Args:
        model: the model.
        memory: is changed.
        documents: each is its own source.
        flush: write the rest of each document that fills no chunk, too.
        report: called with (source, tokens written, tokens in all) after each chunk.
        stopped: asked after each chunk; true ends the reading there.

    Raises:
        BudgetError: a document would outgrow the memory's budget; those before it are written.
    """
    tokens, writes = memory.tokens, len(memory.writes)
    interrupted = False
    for document in documents:

        def progress(done: int, total: int, source: str = document.source) -> None:
            report(source, done, total)
            if stopped():
                raise _Stopped

        try:
            model.write(
                memory, document.text, source=document.source, flush=flush, progress=progress
            )
        except _Stopped:
            interrupted = True
            break
    return Reading(
        tokens=memory.tokens - tokens,
        writes=len(memory.writes) - writes,
        waiting=len(memory.tail),
        interrupted=interrupted,
    )
