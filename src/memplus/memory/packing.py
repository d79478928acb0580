"""Long-term rows in 8 bits: one scale per row and column, rounded to the nearest.

A row is packed once, when it leaves the short-term pool, and unpacked where it is read, so that
what is in memory and what is on a disk are the same numbers.

Shapes: c rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["PACKED", "SCALE", "pack", "scale_of", "unpack"]

PACKED = ("k", "v", "hidden")
"""Columns that are packed. Retrieval keys stay as they are: in 8 bits they retrieved 98.5% of the
same rows in `benchmarks/store.py`, too few for what they would save."""
SCALE = ".scale"
_LEVELS = 127.0


def scale_of(name: str) -> str:
    """The column that holds the scales of another."""
    return f"{name}{SCALE}"


def pack(rows: Mapping[str, Tensor], *, leading: int = 1) -> dict[str, Tensor]:
    """Rows with their wide columns in 8 bits, each beside its scales.

    Args:
        rows: name -> [c, ...], or [L, c, ...] where ``leading`` is 2.
        leading: how many dimensions count rows.
    """
    packed: dict[str, Tensor] = {}
    for name, column in rows.items():
        if name not in PACKED or column.dtype == torch.int8:
            packed[name] = column
            continue
        wide = column.float().flatten(leading)
        largest = wide.abs().amax(dim=-1) if wide.numel() else wide.new_zeros(wide.shape[:-1])
        scale = (largest / _LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
        levels = (wide / scale.unsqueeze(-1)).round().to(torch.int8)
        packed[name] = levels.view(column.shape)
        packed[scale_of(name)] = scale
    return packed


def unpack(levels: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows [c, ...] again, from 8-bit levels and scales [c]."""
    shape = (-1,) + (1,) * (levels.dim() - 1)
    return (levels.float() * scale.view(shape)).to(dtype)
