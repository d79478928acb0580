"""Rows of a padded batch as segments: whole ones, and the shorter last one.

Rows that need equally many segments go together, since one row's memory must not grow with
another's text.

Shapes: B rows of the batch, b of them together, T tokens, N tokens of a segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Segments", "in_segments"]


@dataclass(frozen=True)
class Segments:
    """Rows that are read in equally many steps."""

    rows: list[int]
    """Which of the batch, b of them."""
    whole: list[Tensor]
    """[b, N] each, in order."""
    rest: Tensor
    """[b, n] the last segment, 1 to N tokens; shorter rows are padded at their right, where
    nothing of a causal text sees the padding."""
    counts: list[int]
    """Tokens of each row in ``rest``."""

    def of_like_length(self) -> list[Segments]:
        """The same rows in parts whose last segments differ at most by half, or are short."""
        groups: dict[int, list[int]] = {}
        for place, count in enumerate(self.counts):
            groups.setdefault(max(_SHORT, count - 1).bit_length(), []).append(place)
        return [self] if len(groups) == 1 else [self._some(one) for one in groups.values()]

    def _some(self, places: list[int]) -> Segments:
        counts = [self.counts[place] for place in places]
        return Segments(
            [self.rows[place] for place in places],
            [piece[places] for piece in self.whole],
            self.rest[places, : max(counts)],
            counts,
        )


_SHORT = 31
"""Last segments of one token more, or of fewer, are of like length: one pass costs them little."""


def in_segments(ids: Tensor, pad: Tensor | None, segment: int) -> list[Segments]:
    """Cut the rows of a batch into segments.

    Args:
        ids: [B, T], padded at the left.
        pad: [B] how many tokens of each row are padding; None: none anywhere.
        segment: N.
    """
    total = ids.shape[1]
    pads = [0] * len(ids) if pad is None else [int(one) for one in pad.tolist()]
    groups: dict[int, list[int]] = {}
    for row, skipped in enumerate(pads):
        groups.setdefault(max(0, total - skipped - 1) // segment, []).append(row)
    return [_group(ids, pads, rows, whole * segment, segment) for whole, rows in groups.items()]


def _group(ids: Tensor, pads: list[int], rows: list[int], before: int, segment: int) -> Segments:
    """Rows with ``before`` tokens in whole segments."""
    texts = [ids[row, pads[row] :] for row in rows]
    counts = [len(text) - before for text in texts]
    rest = ids.new_zeros(len(rows), max(counts))
    for place, text in enumerate(texts):
        rest[place, : counts[place]] = text[before:]
    whole = [
        torch.stack([text[start : start + segment] for text in texts])
        for start in range(0, before, segment)
    ]
    return Segments(rows, whole, rest, counts)
