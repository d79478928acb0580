"""Rows that short writes computed again from older ones, and what takes their place.

In a span, which stays whole, rows of its own text take their place, in the order in which a short
write repeats them since it computes none again (``passes.write.whole_write_pass``). So a span that
has no such rows keeps what it holds, as long as the births of its write are known for certain.

Shapes: n rows, S spans of s rows, W writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ComputedAgain", "Copies"]


@dataclass(frozen=True)
class Copies:
    """What of one write is computed again from rows that are forgotten."""

    newest: int
    """Birth of its newest row, or the latest that it can be."""
    own: int
    """So many rows back from it are the text's own."""
    lost: Tensor
    """[n] bool, which rows go, counted back from the newest."""


class ComputedAgain:
    """Rows of some short writes that hold what is forgotten.

    Args:
        copies: by the ids of the writes.
        writes: W.
        span: s; 1 where single rows are retrieved.
    """

    def __init__(self, copies: dict[int, Copies], writes: int, span: int) -> None:
        self.span = span
        self._lost = torch.cat([one.lost for one in copies.values()])
        columns = torch.zeros((4, writes + 1), dtype=torch.int64)
        start = 0
        for write_id, one in copies.items():
            columns[:, write_id] = torch.tensor([one.newest, one.own, start, len(one.lost)])
            start += len(one.lost)
        self._columns = columns

    def among(self, write_id: Tensor, birth: Tensor) -> Tensor:
        """Which of the rows [..., n] are such ones, by their write ids and births."""
        newest, _, start, count = self._of(write_id)
        back = newest - birth
        inside = (back >= 0) & (back < count)
        lost: Tensor = inside & self._lost.to(birth.device)[torch.where(inside, start + back, 0)]
        return lost

    def taken_out(self, write_id: Tensor, birth: Tensor) -> Tensor:
        """Which of the rows [..., n] go: single ones, and spans without a row of their own text."""
        lost = self.among(write_id, birth)
        if self.span == 1:
            return lost
        own = self._own(write_id, birth).unflatten(-1, (-1, self.span))
        spans: Tensor = lost.unflatten(-1, (-1, self.span)).any(dim=-1) & ~own.any(dim=-1)
        return spans.repeat_interleave(self.span, dim=-1)

    def sources(self, write_id: Tensor, birth: Tensor) -> Tensor:
        """For rows of whole spans the place of the row that takes their place, as a rule their own.

        Rows computed again are replaced by the text's own rows of the same span, in turns.

        Args:
            write_id: [..., n], span after span.
            birth: [..., n].

        Returns:
            [..., n] places, 0 to n - 1.
        """
        own = self._own(write_id, birth).unflatten(-1, (-1, self.span)).sum(dim=-1, keepdim=True)
        place = torch.arange(self.span, device=birth.device)
        lost = self.among(write_id, birth).unflatten(-1, (-1, self.span)) & (own > 0)
        within = torch.where(lost, self.span - own + place % own.clamp(min=1), place)
        starts = torch.arange(0, write_id.shape[-1], self.span, device=birth.device)
        return (starts[:, None] + within).flatten(-2)

    def _own(self, write_id: Tensor, birth: Tensor) -> Tensor:
        """Which rows [..., n] are their text's own; none where that is not known."""
        newest, own, _, _ = self._of(write_id)
        theirs: Tensor = newest - birth < own
        return theirs

    def _of(self, write_id: Tensor) -> Tensor:
        """[4, ..., n]: newest birth, own rows, and where in ``_lost`` the write's begin."""
        return self._columns.to(write_id.device)[:, write_id.long()]
