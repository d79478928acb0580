"""Judging answers. This room knows strings only."""

from __future__ import annotations

from memplus.data.wording import bare, same_wording

__all__ = ["contains", "is_right"]


def is_right(said: str, answer: str) -> bool:
    """Whether the whole of what was said is the answer, but for case, spaces and a full stop.

    Strict on purpose: an answer that lists several values is not right, though it holds one.
    """
    return same_wording(said, answer)


def contains(said: str, answer: str) -> bool:
    """Whether the answer stands somewhere in what was said, but for case and spaces."""
    return bare(answer) in bare(said)
