"""Prompts behind a state: token ids, and which of them say what the memory is looked through for.

A mechanism that looks once for a whole text should look for the question, not for the words that
the template puts around every question, nor for what is still to be predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Prompt", "around_question"]

_PROBES = ("Who was it?", "7", "an island in the north")


@dataclass(frozen=True)
class Prompt:
    """A text that stands behind a state."""

    ids: tuple[int, ...]
    about: tuple[int, int]
    """The first token of the question and the one behind its last; empty where the text before
    ``ids`` counts."""

    def behind(self, tail: Sequence[int]) -> Prompt:
        """The same prompt with tokens before it; where it has none, these are what it is about."""
        count, (start, end) = len(tail), self.about
        about = (start + count, end + count) if self.ids else (0, count)
        return Prompt((*tail, *self.ids), about)

    def taken(self, count: int) -> Prompt:
        """Without its first tokens."""
        start, end = (max(0, place - count) for place in self.about)
        return Prompt(self.ids[count:], (start, end))

    def extended(self, ids: Sequence[int]) -> Prompt:
        """With tokens behind it."""
        return Prompt((*self.ids, *ids), self.about)


def around_question(encode: Callable[[str], Sequence[int]]) -> tuple[int, int]:
    """How many tokens a template puts before every question, and how many behind it.

    Args:
        encode: question -> ids of the whole prompt.
    """
    probes = [list(encode(one)) for one in _PROBES]
    before = _common(probes)
    return before, _common([one[before:][::-1] for one in probes])


def _common(found: Sequence[Sequence[int]]) -> int:
    """How many first tokens all have in common."""
    count = 0
    for tokens in zip(*found, strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count
