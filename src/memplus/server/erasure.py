"""What is to be forgotten of a memory, and what went, for whatever else holds it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from memplus.memory.written_text import WrittenText
from memplus.store import StoredMemory
from memplus.store.erasing import chosen_or_matching

__all__ = ["Choice", "Erased", "choose"]


@dataclass(frozen=True)
class Erased:
    """What was taken out of a memory."""

    stored: str
    """The memory's name in the store."""
    sources: frozenset[str]
    """Sources of which something went."""
    texts: tuple[str, ...]
    """What went; empty where the whole memory did."""
    source: str | None = None
    """The source of which everything went, where one was named."""
    match: str | None = None
    """The words that everything held, where some were named."""


@dataclass(frozen=True)
class Choice:
    """What is to go."""

    texts: dict[int, WrittenText]
    tail: tuple[str, int, str] = ("", 0, "")
    """Source, first token and text of the tail, where it goes too; empty otherwise."""
    tail_tokens: int = 0

    @property
    def parts(self) -> tuple[tuple[str, int, int], ...]:
        """(source, first token, tokens) of each text and of the tail."""
        parts = [(one.source, one.start, one.tokens) for one in self.texts.values()]
        if self.tail_tokens:
            parts.append((*self.tail[:2], self.tail_tokens))
        return tuple(parts)

    def erased(self, stored: str, source: str | None, match: str | None) -> Erased:
        """The same once it is gone."""
        texts = [one.text for one in self.texts.values()]
        if self.tail_tokens:
            texts.append(self.tail[2])
        return Erased(stored, frozenset(one[0] for one in self.parts), tuple(texts), source, match)


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
    return Choice(texts, (memory.tail_source, start, memory.tail_text), len(memory.tail))
