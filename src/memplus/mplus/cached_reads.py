"""Which read a text cache belongs to, so that the next turn goes on with the same rows.

Shapes: B batch, S tokens in the cache.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from memplus.errors import StaleCacheError
from memplus.memory.state import Memory
from memplus.mplus.arguments import cached_tokens
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.read import ReadSession

__all__ = ["CachedRead", "CachedReads"]


@dataclass
class CachedRead:
    """What a text cache was built on."""

    session: ReadSession
    versions: list[int]
    """Of the session's memories, then."""
    mask: Tensor | None
    """[B, tokens so far]: 0 where the cache holds padding; None where it holds none."""
    searched: bool
    """Whether its rows are beams of a search, in an order of the search's own."""

    @property
    def memories(self) -> list[Memory]:
        """One per row of the cache; none where it was read without."""
        prefix = self.session.prefix
        return prefix.memories if isinstance(prefix, MemoryPrefix) else []

    def past_mask(self, length: int) -> Tensor | None:
        """[B, length] of the cache's first tokens: generated ones are no padding."""
        if self.mask is None:
            return None
        missing = max(0, length - self.mask.shape[1])
        return nn.functional.pad(self.mask, (0, missing), value=1)[:, :length]


class CachedReads:
    """Remembers the read of every text cache that is still alive."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Any, CachedRead] = weakref.WeakKeyDictionary()

    def remember(
        self, cache: Any, session: ReadSession, mask: Tensor | None, *, searched: bool = False
    ) -> None:
        """Keep what a cache was built on; nothing where there is no cache."""
        if cache is not None:
            read = CachedRead(session, [], mask, searched)
            read.versions = [memory.version for memory in read.memories]
            self._known[cache] = read

    def of(self, cache: Any, memories: Sequence[Memory]) -> CachedRead | None:
        """The read that a cache belongs to; None for a cache of the stock model without memory.

        Args:
            cache: that holds tokens.
            memories: one per row, as the caller gave them; empty without memory.

        Raises:
            StaleCacheError: the cache does not fit these memories.
        """
        read = self._known.get(cache)
        if read is None:
            if memories:
                raise StaleCacheError(reason="no read of this model made it, or it is a copy")
            return None
        reason = _misfit(read, memories) or _cut(read, cache)
        if reason:
            raise StaleCacheError(reason=reason)
        return read


def _misfit(read: CachedRead, memories: Sequence[Memory]) -> str:
    held = read.memories
    if read.searched:
        return "its rows are the beams of a search, not prompts"
    if held and not memories:
        return "it was made with a memory, and none is given"
    if memories and not held:
        return "it was made without a memory"
    if len(held) != len(memories):
        return f"it holds {len(held)} rows, and {len(memories)} are given"
    if any(a is not b for a, b in zip(held, memories, strict=True)):
        return "it was made with another memory; a fork is another one"
    if read.versions != [memory.version for memory in memories]:
        return "the memory has changed since it was made"
    return ""


def _cut(read: CachedRead, cache: Any) -> str:
    tails = read.session.tails
    if tails is not None and cached_tokens(cache) < tails.width:
        return "it was cut to fewer tokens than its first prompt"
    return ""
