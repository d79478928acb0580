"""Taking writes out of a memory of a store: what is meant, the rows, the text, the files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager

from memplus.errors import StorageError, UsageError
from memplus.memory.forgetting import Chosen, Forgotten, chosen_writes, forget_rows
from memplus.memory.records import Passage
from memplus.memory.state import Memory, MemoryHost
from memplus.store.keeper import Keeper
from memplus.store.matching import matching

__all__ = ["chosen_or_matching", "erase", "erase_and_rewrite", "remove_leftovers", "take_contents"]

_VALUES = (
    *("seed", "max_bytes", "config", "pool", "clock", "writes", "version", "generator"),
    *("tail", "tail_source", "tail_text", "source_tokens", "rows"),
)


def chosen_or_matching(
    memory: Memory,
    source: str | None,
    write: int | Iterable[int] | None,
    match: str | re.Pattern[str] | None,
) -> Chosen:
    """What is to be forgotten; see ``StoredMemory.forget``.

    Raises:
        UnknownSourceError, UsageError: something that is named is not there.
    """
    chosen = chosen_writes(memory, source, write)
    if match is None:
        return chosen
    found, in_tail = matching(memory.texts().values(), memory, match)
    if not found and not in_tail:
        words = match if isinstance(match, str) else match.pattern
        raise UsageError(f"Nothing that was written holds {words!r}.")
    return Chosen(chosen.writes | found, chosen.tail or in_tail)


def erase(memory: Memory, keeper: Keeper, chosen: Chosen) -> Forgotten:
    """Take out rows and texts; what later writes had attended to stays as a trace."""
    done = forget_rows(memory, chosen.writes, tail=chosen.tail)
    keeper.commit_without(memory, chosen.writes)
    return done


def erase_and_rewrite(
    memory: Memory,
    keeper: Keeper,
    chosen: Chosen,
    host: MemoryHost,
    held: AbstractContextManager[None],
) -> Forgotten:
    """Begin anew and write everything else again, as one change.

    Args:
        memory: is changed.
        keeper: of the memory.
        chosen: what goes.
        host: writes the others.
        held: keeps what is written inside it from being committed.
    """
    others = [text for text in memory.texts().values() if text.id not in chosen.writes]
    done = forget_rows(memory, chosen.writes, tail=chosen.tail)
    waiting = (memory.tail, memory.tail_source, memory.tail_text)
    version = memory.version
    keeper.begin_anew()
    fresh = host.new_memory(memory.seed, max_bytes=memory.max_bytes, rows=memory.rows)
    take_contents(memory, fresh)
    with held:
        host.replay(memory, [(one.source, Passage(one.ids, one.text)) for one in others])
    if waiting[0]:
        memory.tail, memory.tail_source, memory.tail_text = waiting
    memory.version = max(memory.version, version) + 1
    keeper.commit_anew(memory)
    return done


def take_contents(memory: Memory, other: Memory) -> None:
    """Make a memory hold all that another one holds."""
    for name in _VALUES:
        setattr(memory, name, getattr(other, name))
    memory.derived.clear()
    memory.long_term = None
    if other.long_term is not None:
        memory.long_term = memory.long_term_of(other.long_term.fork().tables)
        memory.long_term.waiting = other.long_term.waiting
        memory.long_term.writes_since_merge = other.long_term.writes_since_merge


def remove_leftovers(keeper: Keeper) -> None:
    """Remove the files that still hold what was forgotten.

    Raises:
        StorageError: one could not be removed, although it is forgotten.
    """
    folder = keeper.folder
    try:
        folder.collect(keeper.manifest)
    except OSError as error:
        reason = f"it is forgotten, but a file that held it could not be removed ({error})"
        raise StorageError(folder.path, reason=reason, code=error.errno) from error
