"""Rows that are there, packed in fewer bits: a table is read and packed block by block.

Shapes: c rows of a block, N rows beside the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from memplus.memory.packing import (
    KEY,
    PACKED,
    RowKind,
    Share,
    finite,
    leading_of,
    leading_shape,
    pack,
    scale_of,
    spread_of,
    unpack,
    widely,
)
from memplus.memory.rows import RowTable
from memplus.memory.two_bits import principal_directions

__all__ = ["repacked"]


def repacked(
    table: RowTable,
    kind: RowKind,
    beside: Mapping[str, Tensor] | None = None,
    *,
    keys: bool,
    share: Share = Share.SAME,
) -> RowTable:
    """One layer's rows in fewer bits than they have, block by block.

    Args:
        table: exact, or packed in more bits.
        kind: ``int8``, ``int4`` or ``int2``.
        beside: name -> [N, ...], other rows of the layer, among which what rows have in common is
            looked for too (``packing.widely``), since the table's own may be few.
        keys: see ``pack``.
        share: of the layer.
    """
    there = [name for name in PACKED if name in table.names]
    centres = {}
    for name in there if len(table) else []:
        others = [beside[name].float()] if beside and widely(kind, len(table)) else []
        count = len(table) + sum(map(len, others))
        total = sum(finite(piece).sum(dim=0) for piece in _pieces(table, name, others))
        assert isinstance(total, Tensor)
        centres[name] = total / count
        if leading_shape(name, centres[name].shape, kind):
            spread = sum(spread_of(one - centres[name]) for one in _pieces(table, name, others))
            assert isinstance(spread, Tensor)
            centres[leading_of(name)] = principal_directions(spread / count, share)
    columns: dict[str, list[Tensor]] = {}
    for start in _starts(table) if table.names else []:
        names = [n for n in table.names if n not in map(scale_of, there) and n not in there]
        block = {name: table.between(name, start, start + _BLOCK) for name in names}
        whole_keys = keys and KEY in block and block[KEY].dtype != torch.int8
        block |= {name: _exact(table, name, start) for name in there}
        for name, piece in pack(block, kind, centres, keys=whole_keys, share=share).items():
            columns.setdefault(name, []).append(piece)
    return RowTable({name: torch.cat(pieces) for name, pieces in columns.items()}, centres)


_BLOCK = 4_096


def _starts(table: RowTable) -> range:
    """The first row of every block; an empty table has one block."""
    return range(0, max(1, len(table)), _BLOCK)


def _pieces(table: RowTable, name: str, others: Sequence[Tensor]) -> Iterator[Tensor]:
    """[c, ...] float32: a column block by block, then others."""
    return chain((_exact(table, name, start) for start in _starts(table)), others)


def _exact(table: RowTable, name: str, start: int) -> Tensor:
    """[c, ...] float32: a block of a column, unpacked where it is packed."""
    stop = min(start + _BLOCK, len(table))
    column = table.between(name, start, stop)
    if scale_of(name) not in table.names:
        return column.float()
    scale = table.between(scale_of(name), start, stop)
    common = table.centres
    return unpack(column, scale, torch.float32, common.get(name), common.get(leading_of(name)))
