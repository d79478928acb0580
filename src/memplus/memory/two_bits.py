"""Numbers in about 2 bits, at levels of a Gaussian that a trellis chooses (``memory.trellis``).

Values are turned by a Hadamard matrix before (``memory.packing``), after which they lie about as a
Gaussian's numbers do, and take 2 bits each, or 3 in some layers.

Keys would lose too much so: answers feel what they err by much more. But a quarter of the
directions that a head's keys can take hold most of what tells them apart, before positions turn
them. So each key is kept by how far it reaches along these directions: 4 bits for the first
quarter, 3 for the second, 2 for the next three eighths; the last eighth is left out, and in some
layers the last three. A layer finds its directions once and keeps them (``memory.packing``), each
as long as keys deviate along it.

Which layers keep more is said by ``Share``.

The numbers that stand under one scale are of about one size, and so are scales of a layer: one byte
holds a scale, an eighth of a doubling to a step.

Shapes: c rows, H heads, w numbers of a head, e = w / 8, d = 7 e directions, g numbers of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor

from memplus.memory.trellis import codes_of, levels_of, runs_of

__all__ = [
    "Share",
    "along_bytes",
    "directions_kept",
    "group_bytes",
    "pack_along",
    "pack_groups",
    "principal_directions",
    "unpack_along",
    "unpack_groups",
]


class Share(Enum):
    """How much of its keys and values a layer keeps, by where it lies among those that keep rows.

    Answers feel what the upper layers err by most, in their values above all.
    """

    LOWER = "lower"
    """Keys along five eighths of their directions, values in 2 bits."""
    UPPER = "upper"
    """Keys along seven eighths, values in 3 bits."""
    SAME = "same"
    """Keys along seven eighths, values in 2 bits: all layers where there are two at most, and what
    earlier releases gave every layer."""

    @classmethod
    def of(cls, place: int, count: int) -> Share:
        """That of one of ``count`` layers, the lowest of which has the place 0.

        As many are upper ones as take no more than a twentieth above what all take alike.
        """
        if count < _FEWEST_LAYERS:
            return cls.SAME
        return cls.UPPER if place >= count - count * 11 // 24 else cls.LOWER


_FEWEST_LAYERS = 3
"""Among which some are upper ones."""
_EIGHTHS = ((2, 4), (2, 3), (1, 2), (2, 2))
"""So many eighths of a head's directions, the leading ones first, and the bits of each; the last of
these are not kept by every layer."""
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


def directions_kept(width: int, share: Share = Share.SAME) -> int:
    """d: along how many directions keys of a head are kept; 0 where it is too narrow for bytes."""
    return 0 if width % 16 else sum(count for count, _ in _eighths(share)) * width // 8


def _eighths(share: Share) -> tuple[tuple[int, int], ...]:
    return _EIGHTHS[:-1] if share is Share.LOWER else _EIGHTHS


def along_bytes(width: int, share: Share = Share.SAME) -> int:
    """Bytes of one key of a head, its scale not counted."""
    return sum(count * bits for count, bits in _eighths(share)) * width // 64


def group_bytes(width: int, share: Share = Share.SAME) -> int:
    """Bytes of one value of a head, its scales not counted."""
    return _group_bits(share) * width // 8


def _group_bits(share: Share) -> int:
    return 3 if share is Share.UPPER else 2


def principal_directions(spread: Tensor, share: Share = Share.SAME) -> Tensor:
    """The directions in which keys deviate most from their mean.

    Args:
        spread: [H, w, w] float64, the mean products of what the numbers of keys are off the mean.
        share: of their layer.

    Returns:
        [H, w, d] float32, the longest first, each as long as keys deviate along it.
    """
    squares, directions = torch.linalg.eigh(spread)
    lengths = squares.clamp(min=0).sqrt().flip(-1)
    longest = lengths[..., :1]
    lengths = torch.where(longest > 0, lengths.maximum(longest / _FLATTEST), 1.0)
    found: Tensor = directions.flip(-1) * lengths.clamp(max=_LONGEST).unsqueeze(-2)
    return found[..., : directions_kept(spread.shape[-1], share)].float().contiguous()


# Keys -------------------------------------------------------------------------------------------


def pack_along(
    apart: Tensor, leading: Tensor | None, share: Share = Share.SAME
) -> tuple[Tensor, Tensor]:
    """Keys [c, H, w] about their mean, by how far they reach along directions.

    Args:
        apart: float32.
        leading: [H, w, d], as ``principal_directions`` gives them; None: the first axes.
        share: of their layer.

    Returns:
        uint8 [c, H, along_bytes(w)] and their scales, uint8 [c, H].
    """
    heads, width = apart.shape[1:]
    axes = _axes(heads, width, apart, share) if leading is None else leading
    squares = axes.square().sum(dim=1)
    lengths = torch.einsum("chw,hwd->chd", apart, axes) / squares.clamp(min=_tiny())
    return _rounded(lengths, _bits_along(width, share), squares)


def unpack_along(
    packed: Tensor, scales: Tensor, leading: Tensor | None, share: Share = Share.SAME
) -> Tensor:
    """Keys [c, H, w] about their mean again; see ``pack_along``."""
    width = packed.shape[-1] * 64 // along_bytes(64, share)
    axes = _axes(packed.shape[1], width, scales.float(), share) if leading is None else leading
    lengths = _levels(packed, _bits_along(width, share)) * _scales(scales).unsqueeze(-1)
    return torch.einsum("chd,hwd->chw", lengths, axes)


def _bits_along(width: int, share: Share) -> list[int]:
    return [bits for count, bits in _eighths(share) for _ in range(count * width // 8)]


def _axes(heads: int, width: int, like: Tensor, share: Share) -> Tensor:
    kept = directions_kept(width, share)
    axes = torch.eye(width, kept, dtype=torch.float32, device=like.device)
    return axes.expand(heads, width, kept)


# Values -----------------------------------------------------------------------------------------


def pack_groups(groups: Tensor, share: Share = Share.SAME) -> tuple[Tensor, Tensor]:
    """Groups of numbers in 2 bits, or 3.

    Args:
        groups: [c, ..., w / g, g] float32.
        share: of their layer.

    Returns:
        uint8 [c, ..., group_bytes(w)] and scales, uint8 [c, ..., w / g].
    """
    packed, scales = _rounded(groups, [_group_bits(share)] * groups.shape[-1])
    return packed.flatten(-2), scales


def unpack_groups(packed: Tensor, scales: Tensor, share: Share = Share.SAME) -> Tensor:
    """[c, ..., w / g, g] float32; see ``pack_groups``."""
    groups, bits = packed.unflatten(-1, (scales.shape[-1], -1)), _group_bits(share)
    return _levels(groups, [bits] * (8 * groups.shape[-1] // bits)) * _scales(scales).unsqueeze(-1)


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
