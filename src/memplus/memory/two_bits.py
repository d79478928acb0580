"""Numbers in about 2 bits, at levels of a Gaussian that a trellis chooses (``memory.trellis``).

Values are turned by a Hadamard matrix before (``memory.packing``), after which they lie about as a
Gaussian's numbers do, and take 2 bits each.

Keys would lose too much so: answers feel what they err by much more. But a quarter of the
directions that a head's keys can take hold most of what tells them apart, before positions turn
them. So each key is kept by how far it reaches along these directions: 4 bits for the first
quarter, 3 for the second, 2 for the next three eighths; the last eighth is left out. A layer finds
its directions once and keeps them (``memory.packing``), each as long as keys deviate along it.

The numbers that stand under one scale are of about one size, and so are scales of a layer: one byte
holds a scale, an eighth of a doubling to a step.

Shapes: c rows, H heads, w numbers of a head, e = w / 8, d = 7 e directions, g numbers of a group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memplus.memory.trellis import codes_of, levels_of, runs_of

__all__ = [
    "along_bytes",
    "directions_kept",
    "group_bytes",
    "pack_along",
    "pack_groups",
    "principal_directions",
    "unpack_along",
    "unpack_groups",
]

_EIGHTHS = ((2, 4), (2, 3), (3, 2))
"""So many eighths of a head's directions, the leading ones first, and the bits of each."""
_STEPS = 8
"""Of a scale, to a doubling."""
_MIDDLE = 128
"""The byte of a scale of 1; 0 is that of nothing."""
_LEAST = 2.0 ** ((1 - _MIDDLE) / _STEPS)
"""What a scale is nearer to than to nothing; below half of it, it is nothing."""
_FLATTEST = 64
"""No direction is taken to be flatter than the longest one by more: few rows do not tell."""
_LONGEST = 1e15
"""Of a direction, so that its square is a float32."""


def directions_kept(width: int) -> int:
    """d: along how many directions keys of a head are kept; 0 where it is too narrow for bytes."""
    return 0 if width % 16 else sum(count for count, _ in _EIGHTHS) * width // 8


def along_bytes(width: int) -> int:
    """Bytes of one key of a head, its scale not counted."""
    return sum(count * bits for count, bits in _EIGHTHS) * width // 64


def group_bytes(width: int) -> int:
    """Bytes of one value of a head, its scales not counted."""
    return width // 4


def principal_directions(spread: Tensor) -> Tensor:
    """The directions in which keys deviate most from their mean.

    Args:
        spread: [H, w, w] float64, the mean products of what the numbers of keys are off the mean.

    Returns:
        [H, w, d] float32, the longest first, each as long as keys deviate along it.
    """
    squares, directions = torch.linalg.eigh(spread)
    lengths = squares.clamp(min=0).sqrt().flip(-1)
    longest = lengths[..., :1]
    lengths = torch.where(longest > 0, lengths.maximum(longest / _FLATTEST), 1.0)
    found: Tensor = directions.flip(-1) * lengths.clamp(max=_LONGEST).unsqueeze(-2)
    return found[..., : directions_kept(spread.shape[-1])].float().contiguous()


# Keys -------------------------------------------------------------------------------------------


def pack_along(apart: Tensor, leading: Tensor | None) -> tuple[Tensor, Tensor]:
    """Keys [c, H, w] about their mean, by how far they reach along directions.

    Args:
        apart: float32.
        leading: [H, w, d], as ``principal_directions`` gives them; None: the first axes.

    Returns:
        uint8 [c, H, along_bytes(w)] and their scales, uint8 [c, H].
    """
    heads, width = apart.shape[1:]
    axes = _axes(heads, width, apart) if leading is None else leading
    squares = axes.square().sum(dim=1)
    lengths = torch.einsum("chw,hwd->chd", apart, axes) / squares.clamp(min=_tiny())
    return _rounded(lengths, _bits_along(width), squares)


def unpack_along(packed: Tensor, scales: Tensor, leading: Tensor | None) -> Tensor:
    """Keys [c, H, w] about their mean again; see ``pack_along``."""
    width = packed.shape[-1] * 64 // along_bytes(64)
    axes = _axes(packed.shape[1], width, scales.float()) if leading is None else leading
    lengths = _levels(packed, _bits_along(width)) * _scales(scales).unsqueeze(-1)
    return torch.einsum("chd,hwd->chw", lengths, axes)


def _bits_along(width: int) -> list[int]:
    return [bits for count, bits in _EIGHTHS for _ in range(count * width // 8)]


def _axes(heads: int, width: int, like: Tensor) -> Tensor:
    kept = directions_kept(width)
    axes = torch.eye(width, kept, dtype=torch.float32, device=like.device)
    return axes.expand(heads, width, kept)


# Values -----------------------------------------------------------------------------------------


def pack_groups(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Groups of numbers in 2 bits.

    Args:
        groups: [c, ..., w / g, g] float32.

    Returns:
        uint8 [c, ..., w / 4] and scales, uint8 [c, ..., w / g].
    """
    packed, scales = _rounded(groups, [2] * groups.shape[-1])
    return packed.flatten(-2), scales


def unpack_groups(packed: Tensor, scales: Tensor) -> Tensor:
    """[c, ..., w / g, g] float32; see ``pack_groups``."""
    quarter = packed.unflatten(-1, (scales.shape[-1], -1))
    return _levels(quarter, [2] * (4 * quarter.shape[-1])) * _scales(scales).unsqueeze(-1)


# Numbers ----------------------------------------------------------------------------------------


def _tiny() -> float:
    return torch.finfo(torch.float32).tiny


def _rounded(
    numbers: Tensor, bits: Sequence[int], weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Numbers [..., n] at the levels of the trellis's nearest path where they deviate by 1.

    Args:
        numbers: float32.
        bits: of each of the n.
        weights: [..., n], what the square that a number is off counts; None: all alike.

    Returns:
        uint8 [..., b] bytes of the codes, and uint8 [...] the scale's.
    """
    largest = numbers.abs().amax(dim=-1, keepdim=True).clamp(min=_tiny())
    small = numbers / largest  # whose squares neither vanish nor outgrow a float
    unit = small / small.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=_tiny())
    if weights is not None:
        weights = weights / weights.amax(dim=-1, keepdim=True).clamp(min=_tiny())
    codes = codes_of(unit, bits, weights)
    levels = levels_of(codes, bits)
    product, square = small * levels, levels.square()
    if weights is not None:
        product, square = product * weights, square * weights
    scale = product.sum(dim=-1) / square.sum(dim=-1).clamp(min=_tiny()) * largest.squeeze(-1)
    return _as_bytes(codes, bits), _steps(scale)


def _levels(packed: Tensor, bits: Sequence[int]) -> Tensor:
    """[..., n] float32: the levels whose codes were packed."""
    return levels_of(_from_bytes(packed, bits), bits)


def _steps(scales: Tensor) -> Tensor:
    """uint8 [...]: scales [...] as bytes."""
    steps = (scales.log2() * _STEPS + _MIDDLE).round().clamp(1, 255)
    return torch.where(scales > _LEAST / 2, steps, 0.0).to(torch.uint8)


def _scales(steps: Tensor) -> Tensor:
    """[...] float32: the scales of bytes."""
    return torch.where(steps > 0, torch.exp2((steps.float() - _MIDDLE) / _STEPS), 0.0)


def _as_bytes(codes: Tensor, bits: Sequence[int]) -> Tensor:
    """uint8 [..., b]: codes [..., n] of so many bits each, one behind the other."""
    places = torch.arange(8, dtype=torch.uint8, device=codes.device)
    runs = [
        (codes[..., run].unsqueeze(-1) >> places[:count] & 1).flatten(-2)
        for run, count in runs_of(bits)
    ]
    eights = torch.cat(runs, dim=-1).unflatten(-1, (-1, 8))
    found: Tensor = (eights << places).sum(dim=-1, dtype=torch.uint8)
    return found


def _from_bytes(packed: Tensor, bits: Sequence[int]) -> Tensor:
    """uint8 [..., n]: the codes of ``_as_bytes``."""
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    single = (packed.unsqueeze(-1) >> places & 1).flatten(-2)
    lengths = [len(range(*run.indices(len(bits)))) * count for run, count in runs_of(bits)]
    runs = [
        (part.unflatten(-1, (-1, count)) << places[:count]).sum(dim=-1, dtype=torch.uint8)
        for part, (_, count) in zip(single.split(lengths, dim=-1), runs_of(bits), strict=True)
    ]
    return torch.cat(runs, dim=-1)
