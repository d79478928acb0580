"""Long-term rows in 8, 4 or about 2 bits: about their mean, rounded to levels.

A row is packed once, when it leaves the short-term pool, and unpacked where it is read, so that
what is in memory and what is on a disk are the same numbers.

Most of a key or value is the same in all rows of its layer: of the keys of a pretrained decoder,
what tells rows apart is a small part, and 4 bits for the whole number would round it away. So the
mean of the first rows that a layer packs, its centre, is kept once and subtracted from all. In 4
bits the numbers of a head are then turned by a Hadamard matrix, which spreads the few large ones
over their group; every group has a scale of its own, at which its largest number is level -8.

In 8 and 4 bits every number goes to the level nearest to it. In about 2 bits those of a group are
rounded together (``memory.trellis``). Values are turned likewise before, and keys are kept along
the directions that tell them apart (``memory.two_bits``). A layer finds these once, as its centre,
and keeps them beside it; both are of its first rows and of those in the short-term pool then, as is
every centre that would be of few rows. What upper layers keep beyond lower ones stands in columns
of its own (``more_of``), so that a column has the same width in every layer.

Shapes: c rows, H heads, w numbers of a head (or of a hidden vector), d directions of a head, g
numbers of a group, R width of retrieval keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import prod

import torch
from torch import Tensor

from memplus.config import ROWS, ROWS_WANTED, RowKind, require
from memplus.memory.rows import RowTable
from memplus.memory.two_bits import (
    Share,
    along_bytes,
    directions_kept,
    group_bytes,
    pack_along,
    pack_groups,
    principal_directions,
    unpack_along,
    unpack_groups,
)

__all__ = [
    "KEY",
    "MORE",
    "PACKED",
    "ROWS",
    "RowKind",
    "Share",
    "centre_of",
    "centres_of",
    "common_bytes",
    "common_shapes",
    "finite",
    "leading_of",
    "leading_shape",
    "more_of",
    "named_centres",
    "pack",
    "packed_columns",
    "require_kind",
    "scale_of",
    "share_of",
    "split_centres",
    "spread_of",
    "unpack",
    "widely",
]

PACKED = ("k", "v", "hidden")
"""Columns that are packed always. Retrieval keys are packed where spans are retrieved: the same
spans are found by them. Single rows were the same for 98.5% (`benchmarks/store.py`), too few for
what they would save."""
KEY = "key"
SCALE = ".scale"
CENTRE = ".centre"
LEADING = ".leading"
MORE = ".more"
_BY_LEADING, _VALUES = "k", "v"
"""The columns that 2 bits keep: along leading directions, and turned."""
_LEVELS = 127.0
_GROUP = 64
_FEWEST = 8
"""Shorter groups would spend more on their scales than 4 bits save."""
_FEW_ROWS = 32
_LARGEST = torch.finfo(torch.float16).max

_Column = tuple[torch.dtype, tuple[int | None, ...]]


def require_kind(rows: object) -> None:
    """Refuse a way to keep rows that does not exist; None stands for a model's own.

    Raises:
        ConfigError: it is none of ``ROWS``.
    """
    ok = rows is None or rows in ROWS
    require(ok, "rows", rows, ROWS_WANTED)


def scale_of(name: str) -> str:
    """The column that holds the scales of another."""
    return f"{name}{SCALE}"


def centre_of(name: str) -> str:
    """What the centre of a column is called in a file."""
    return f"{name}{CENTRE}"


def named_centres(centres: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Centres of a table by the names that they have in a file."""
    return {centre_of(name): centre for name, centre in centres.items()}


def split_centres(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The columns of a table, and its centres by the names of their columns."""
    columns = {name: one for name, one in tensors.items() if not name.endswith(CENTRE)}
    centres = {n.removesuffix(CENTRE): one for n, one in tensors.items() if n.endswith(CENTRE)}
    return columns, centres


def _group(width: int) -> int:
    """g: the largest power of two that divides ``width``, at most ``_GROUP``."""
    return min(width & -width, _GROUP)


def _bits(kind: RowKind, width: int) -> int:
    """How many a number takes, of a column of so many numbers a head."""
    if kind == "int8" or _group(width) < _FEWEST:
        return 8
    return 4 if kind == "int4" else 2


def _bits_of(name: str, shape: Sequence[int], kind: RowKind) -> int:
    """How many bits most numbers of a column take.

    Args:
        name: of the column.
        shape: [..., w] of one row as computed.
        kind: ``int8``, ``int4`` or ``int2``.
    """
    if kind == "int2" and name != _VALUES and leading_shape(name, shape, kind) is None:
        kind = "int4"  # keys of narrow heads, and hidden vectors, of which keys are made
    return _bits(kind, shape[-1])


def leading_of(name: str) -> str:
    """What the leading directions of a column are called beside its centre."""
    return f"{name}{LEADING}"


def more_of(name: str) -> str:
    """The column that holds what upper layers keep of another beyond lower ones."""
    return f"{name}{MORE}"


def share_of(table: RowTable) -> Share:
    """How much the rows of a table in 2 bits keep, as its columns tell.

    The values of heads that are wide enough for leading directions take as many bytes as keys of
    lower layers do.
    """
    if more_of(_VALUES) in table.names:
        return Share.UPPER
    if not {_BY_LEADING, _VALUES} <= set(table.names):
        return Share.SAME
    keys, values = (table.between(name, 0, 0).shape[1:] for name in (_BY_LEADING, _VALUES))
    return Share.LOWER if keys == values else Share.SAME


def leading_shape(
    name: str, shape: Sequence[int], kind: RowKind, share: Share = Share.SAME
) -> tuple[int, ...] | None:
    """[H, w, d] of a column's leading directions; None where it is not kept by them.

    Args:
        name: of the column.
        shape: [H, w] of one row as computed.
        kind: how rows are kept.
        share: of the layer, as everywhere below.
    """
    if name != _BY_LEADING or kind != "int2" or len(shape) != 2:
        return None
    heads, width = shape
    kept = directions_kept(width, share)
    return (heads, width, kept) if kept else None


def common_shapes(
    name: str, shape: Sequence[int], kind: RowKind, share: Share = Share.SAME
) -> dict[str, tuple[int, ...]]:
    """What the rows of a layer have in common of a column, float32: name in a file -> shape.

    Args:
        name: of the column.
        shape: [...] of one row as computed.
        kind: how rows are kept.
        share: of the layer.
    """
    if kind == "exact" or name not in PACKED:
        return {}
    directions = leading_shape(name, shape, kind, share)
    common = {centre_of(name): tuple(shape)}
    return common if directions is None else common | {centre_of(leading_of(name)): directions}


def common_bytes(name: str, shape: Sequence[int], kind: RowKind, share: Share = Share.SAME) -> int:
    """Bytes of what the rows of one layer have in common of a column; see ``common_shapes``."""
    return 4 * sum(map(prod, common_shapes(name, shape, kind, share).values()))


def widely(kind: RowKind, count: int) -> bool:
    """Whether what ``count`` first rows have in common is looked for in the short-term pool, too.

    The directions of 2 bits are; and the mean of a few rows would be one of them, or close to one,
    and stay when these are forgotten.
    """
    return kind == "int2" or count < _FEW_ROWS


def centres_of(
    rows: Mapping[str, Tensor], kind: RowKind, share: Share = Share.SAME
) -> dict[str, Tensor]:
    """What the rows [c, ...] of one layer have in common.

    Returns:
        Name -> [...] float32, the centre of every column that is packed; and by ``leading_of`` its
        leading directions [H, w, d] where it is kept by them.
    """
    there = {name: column.float() for name, column in rows.items() if name in PACKED}
    found = {name: finite(column).mean(dim=0) for name, column in there.items()}
    for name, column in there.items():
        if leading_shape(name, column.shape[1:], kind):
            spread = spread_of(column - found[name]) / max(1, len(column))
            found[leading_of(name)] = principal_directions(spread, share)
    return found


def spread_of(apart: Tensor) -> Tensor:
    """[H, w, w] float64: how the numbers of rows [c, H, w] about their centre go together.

    In float64 the square of every float32 is a number.
    """
    apart = finite(apart.double())
    return torch.einsum("chw,chv->hwv", apart, apart)


def finite(numbers: Tensor) -> Tensor:
    """What is no number tells nothing of the others."""
    return numbers.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def pack(
    rows: Mapping[str, Tensor],
    kind: RowKind,
    centres: Mapping[str, Tensor] | None = None,
    *,
    keys: bool = False,
    share: Share = Share.SAME,
) -> dict[str, Tensor]:
    """Rows of one layer in fewer bits, each column beside its scales.

    Args:
        rows: name -> [c, ...] as computed.
        kind: ``exact`` leaves them as they are.
        centres: of their layer, as ``centres_of`` gives them; what has none lies about zero, and
            along the axes.
        keys: whether retrieval keys are kept by their direction in 8 bits, without a scale.
        share: of their layer.

    Returns:
        In 8 bits: levels int8 [c, ...] and scales float32 [c]. In 4 bits: two levels to a byte,
        uint8 [c, ..., w / 2], and scales float16 [c, ..., w / g]. In 2 bits: four codes to a byte,
        uint8 [c, ..., w / 4], and scales uint8 [c, ..., w / g]; keys as ``two_bits.pack_along``;
        what an upper layer keeps beyond a lower one as ``more_of``.
    """
    packed: dict[str, Tensor] = {}
    for name, column in rows.items():
        if kind != "exact" and name == KEY and keys:
            packed[name] = _in_8_bits(column)[0]
        elif kind == "exact" or name not in PACKED:
            packed[name] = column
        else:
            wide = column.float()
            if centres is not None and name in centres:
                wide = wide - centres[name]
            bits = _bits_of(name, column.shape[1:], kind)
            if leading_shape(name, column.shape[1:], kind):
                levels, scale = pack_along(wide, (centres or {}).get(leading_of(name)), share)
            elif bits == 2:
                levels, scale = pack_groups(_turned_within(wide), share)
            else:
                levels, scale = _PACKERS[bits](wide)
            if bits == 2 and share is Share.UPPER:
                first = _first_bytes(name, column.shape[-1])
                levels, packed[more_of(name)] = levels[..., :first], levels[..., first:]
            packed[name], packed[scale_of(name)] = levels, scale
    return packed


def unpack(
    levels: Tensor,
    scale: Tensor,
    dtype: torch.dtype,
    centre: Tensor | None = None,
    leading: Tensor | None = None,
    share: Share = Share.SAME,
) -> Tensor:
    """Rows [c, ...] again, from their levels and scales, their centre and leading directions.

    Args:
        levels: as ``pack`` gives them, followed by what stands beside them (``more_of``).
        scale: theirs.
        dtype: of the rows.
        centre: of their layer.
        leading: its leading directions.
        share: of the layer.
    """
    if levels.dtype == torch.int8:
        wide = levels.float() * scale.view((-1,) + (1,) * (levels.dim() - 1))
    elif scale.dtype == torch.float16:
        wide = _from_4_bits(levels, scale)
    elif scale.dim() == levels.dim():
        wide = _turned_back(unpack_groups(levels, scale, share))
    else:
        wide = unpack_along(levels, scale, leading, share)
    if centre is not None:
        wide += centre
    return wide.to(dtype)


def _in_8_bits(column: Tensor) -> tuple[Tensor, Tensor]:
    wide = column.float().flatten(1)
    largest = wide.abs().amax(dim=1) if wide.numel() else wide.new_zeros(len(wide))
    scale = (largest / _LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
    levels = (wide / scale.unsqueeze(1)).round().to(torch.int8)
    return levels.view(column.shape), scale


def _turned(wide: Tensor) -> Tensor:
    """[c, ..., w / g, g]: the groups of rows [c, ..., w], turned."""
    size = _group(wide.shape[-1])
    turned: Tensor = wide.unflatten(-1, (-1, size)) @ _hadamard(size, wide.device)
    return turned


def _in_4_bits(wide: Tensor) -> tuple[Tensor, Tensor]:
    groups = _turned(wide)
    largest = groups.gather(-1, groups.abs().argmax(dim=-1, keepdim=True))
    scale = (largest / -8).clamp(-_LARGEST, _LARGEST).to(torch.float16)
    step = scale.float()
    # A group whose scale is too small for its 16 bits is one of zeros.
    levels = torch.where(step == 0, 0.0, groups / step).round().clamp(-8, 7)
    nibbles = (levels + 8).to(torch.uint8).flatten(-2)
    return nibbles[..., 0::2] | nibbles[..., 1::2] << 4, scale.squeeze(-1)


def _from_4_bits(levels: Tensor, scale: Tensor) -> Tensor:
    nibbles = torch.stack([levels & 15, levels >> 4], dim=-1).flatten(-2)
    groups = (nibbles.float() - 8).unflatten(-1, (scale.shape[-1], -1))
    return _turned_back(groups * scale.float().unsqueeze(-1))


def _turned_within(wide: Tensor) -> Tensor:
    """``_turned``, no number so large that its group cannot be turned back."""
    most = torch.finfo(torch.float32).max / _GROUP
    return _turned(wide).clamp(-most, most)


def _first_bytes(name: str, width: int) -> int:
    """Bytes of a head that stand in a column itself, of one kept in 2 bits."""
    kept = along_bytes if name == _BY_LEADING else group_bytes
    return kept(width, Share.LOWER)


def _turned_back(groups: Tensor) -> Tensor:
    """[c, ..., w]: groups [c, ..., w / g, g] as they were before they were turned."""
    back: Tensor = (groups @ _hadamard(groups.shape[-1], groups.device)).flatten(-2)
    return back


_PACKERS = {8: _in_8_bits, 4: _in_4_bits}


@cache
@torch.inference_mode(mode=False)
def _hadamard(size: int, device: torch.device) -> Tensor:
    """[g, g]: orthonormal and its own inverse; g is a power of two. Kept for each device."""
    matrix = torch.ones(1, 1, dtype=torch.float32, device=device)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    orthonormal: Tensor = matrix / size**0.5
    return orthonormal


def packed_columns(
    name: str, column: Tensor, kind: RowKind, share: Share = Share.SAME
) -> dict[str, _Column]:
    """The columns that one of ``PACKED`` becomes: name -> dtype and shape of a row.

    Args:
        name: of the column.
        column: [..., w] one row as computed.
        kind: ``int8``, ``int4`` or ``int2``.
        share: of the layer.
    """
    *outer, width = column.shape
    bits = _bits_of(name, column.shape, kind)
    if bits == 8:
        return {name: (torch.int8, (*outer, width)), scale_of(name): (torch.float32, ())}
    scales = (*outer, width // _group(width))
    if bits == 4:
        taken = torch.uint8, (*outer, width // 2)
        return {name: taken, scale_of(name): (torch.float16, scales)}
    if leading_shape(name, column.shape, kind):
        count, scales = along_bytes(width, share), tuple(outer)
    else:
        count = group_bytes(width, share)
    columns: dict[str, _Column] = {scale_of(name): (torch.uint8, scales)}
    if share is Share.UPPER:
        first = _first_bytes(name, width)
        columns[more_of(name)] = torch.uint8, (*outer, count - first)
        count = first
    return columns | {name: (torch.uint8, (*outer, count))}
