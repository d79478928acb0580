"""Rows that short writes computed again from older ones, and what takes their place.

Shapes: n rows, S spans of s rows, W writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ComputedAgain"]


@dataclass(frozen=True)
class ComputedAgain:
    """Rows of some short writes; tables by write id [W + 1], 0 for all other writes."""

    first: Tensor
    """Birth of the first row that is the text's own."""
    count: Tensor
    """How many rows before it are computed again."""
    ends: Tensor
    """Birth of the last row of the span that holds them; 0: unknown, any span of the write may."""
    span: int
    """s; 1 where single rows are retrieved."""

    def among(self, write_id: Tensor, birth: Tensor) -> Tensor:
        """Which of the rows [..., n] are such ones, by their write ids and births."""
        writes = write_id.long()
        first, count = self.first.to(birth.device)[writes], self.count.to(birth.device)[writes]
        return (birth < first) & (count > 0)  # rows that came with the model are older than any

    def sources(self, write_id: Tensor, birth: Tensor) -> Tensor:
        """For rows of whole spans the place of the row that takes their place, as a rule their own.

        Rows computed again are replaced by the text's own rows of the same span, in turns.

        Args:
            write_id: [..., n], span after span.
            birth: [..., n].

        Returns:
            [..., n] places, 0 to n - 1.
        """
        lasts = slice(self.span - 1, None, self.span)
        writes, end = write_id[..., lasts].long(), birth[..., lasts]
        ends, count = self.ends.to(end.device)[writes], self.count.to(end.device)[writes]
        count = (count * ((ends == 0) | (ends == end)))[..., None]
        place = torch.arange(self.span, device=end.device).expand(*end.shape, self.span)
        within = torch.where(place < count, count + place % (self.span - count), place)
        starts = torch.arange(0, write_id.shape[-1], self.span, device=end.device)
        return (starts[:, None] + within).flatten(-2)
