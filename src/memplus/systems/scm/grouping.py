"""How long texts are summarised by levels (2304.13343): which neighbours are taken together."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["grouped", "longest_summary"]

_LONGEST, _LONGEST_OF_ALL = 1000, 1500
_IN_ALL = 3600
"""Tokens that a group and its summary may take together."""


def grouped(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Neighbours taken together as long as they fit; one that is longer is a group of its own.

    Args:
        lengths: of the parts, in tokens.
        limit: of a group.

    Returns:
        Places of the parts, group by group.
    """
    groups: list[list[int]] = []
    room = 0
    for place, length in enumerate(lengths):
        if groups and length <= room:
            groups[-1].append(place)
            room -= length
        else:
            groups.append([place])
            room = limit - length if length <= limit else -1
    return groups


def longest_summary(tokens: int, limit: int, *, alone: bool) -> int:
    """Most tokens of a group's summary.

    Args:
        tokens: of the group.
        limit: of a group.
        alone: whether it is the only group.
    """
    most = _LONGEST_OF_ALL if alone else _LONGEST
    return max(1, min(_IN_ALL - max(tokens, limit), most))
