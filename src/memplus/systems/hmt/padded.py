"""Texts of several lengths in one tensor, padded on the left, and parts of them.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Padded", "spans"]


@dataclass(frozen=True)
class Padded:
    """A batch of texts; what counts as their tokens is theirs, never the padding."""

    ids: Tensor
    """[B, T]."""
    pad: Tensor | None = None
    """[B], how many at the left of each row are padding; None: nothing is."""

    @classmethod
    def of(cls, ids: Tensor, pad: Tensor | None) -> Padded:
        """The batch, by ``None`` where no row is padded."""
        return cls(ids, pad if pad is not None and bool(pad.any()) else None)

    @property
    def visible(self) -> Tensor | None:
        """[B, T], true where a token is; None: everywhere."""
        if self.pad is None:
            return None
        place = torch.arange(self.ids.shape[1], device=self.ids.device)
        return place >= self.pad[:, None]

    def columns(self, count: int) -> Padded:
        """The first columns, whatever stands there."""
        pad = None if self.pad is None else self.pad.clamp(max=count)
        return Padded(self.ids[:, :count], pad)

    def first(self, count: int) -> Padded:
        """The first tokens of each row, fewer where a row has no more."""
        if self.pad is None:
            return Padded(self.ids[:, :count])
        return spans(self.ids, self.pad, (self.pad + count).clamp(max=self.ids.shape[1]))


def spans(ids: Tensor, start: Tensor, end: Tensor) -> Padded:
    """Columns of each row.

    Args:
        ids: [B, T].
        start: [B] the first column that is taken.
        end: [B] the one behind the last, at least ``start``.
    """
    taken = end - start
    width = int(taken.max())
    pad = width - taken
    place = torch.arange(width, device=ids.device) + (start - pad)[:, None]
    return Padded.of(ids.gather(1, place.clamp(min=0)), pad)
