"""What is to be forgotten of a memory, and what stays of its sources."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from memplus.memory.forgetting import Chosen
from memplus.memory.written_text import WrittenText
from memplus.store import StoredMemory
from memplus.store.erasing import chosen_or_matching

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """What is to go."""

    texts: dict[int, WrittenText]
    tail_tokens: int = 0
    """So many of the tail go."""
    left: tuple[tuple[str, int, int], ...] = ()
    """(source, first token, tokens) of what stays, as few stretches as there are."""


def choose(
    memory: StoredMemory,
    source: str | None = None,
    write: int | Iterable[int] | None = None,
    match: str | None = None,
) -> Choice:
    """What ``StoredMemory.forget`` would take out, given the same.

    Raises:
        UnknownSourceError, UsageError: something that is named is not there.
    """
    chosen = chosen_or_matching(memory, source, write, match)
    tail = len(memory.tail) if chosen.tail else 0
    return Choice(memory.texts(chosen.writes), tail, tuple(_left(memory, chosen)))


def _left(memory: StoredMemory, chosen: Chosen) -> list[tuple[str, int, int]]:
    """The stretches of sources that stay; what was forgotten before is in none."""
    parts = [
        (one.source, one.start, one.tokens)
        for one in memory.writes
        if one.tokens and one.id not in chosen.writes
    ]
    if memory.tail and not chosen.tail:
        source = memory.tail_source
        parts.append((source, memory.source_tokens.get(source, 0), len(memory.tail)))
    found: list[tuple[str, int, int]] = []
    for source, start, tokens in sorted(parts):
        if found and found[-1][0] == source and start == found[-1][1] + found[-1][2]:
            found[-1] = (source, found[-1][1], found[-1][2] + tokens)
        else:
            found.append((source, start, tokens))
    return found
