"""What is to be forgotten of a memory, by its sources and its places in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from memplus.memory.written_text import WrittenText
from memplus.store import StoredMemory
from memplus.store.erasing import chosen_or_matching

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """What is to go."""

    texts: dict[int, WrittenText]
    tail: tuple[str, int, int] = ("", 0, 0)
    """Source, first token and tokens of the tail, where it goes too; no tokens otherwise."""

    @property
    def tail_tokens(self) -> int:
        """So many of the tail go."""
        return self.tail[2]

    @property
    def parts(self) -> tuple[tuple[str, int, int], ...]:
        """(source, first token, tokens) of each text and of the tail."""
        parts = [(one.source, one.start, one.tokens) for one in self.texts.values()]
        return (*parts, self.tail) if self.tail_tokens else tuple(parts)


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
    texts = memory.texts(chosen.writes)
    if not chosen.tail:
        return Choice(texts)
    start = memory.source_tokens.get(memory.tail_source, 0)
    return Choice(texts, (memory.tail_source, start, len(memory.tail)))
