"""Trellis-coded quantization: numbers that are rounded together (Marcellin & Fischer 1990).

A number of R bits has twice as many levels as its bits can name, and they are dealt, in order, to
four subsets. One of its bits moves a register of three; the register says which of the four a
number's level is of, and the other bits say which of that subset. So what a number can be depends
on the ones before it, and the codes of a row are those of the path through the register's eight
states that ends nearest to the row (Viterbi). At 2 bits the mean square by which a Gaussian is off
falls from 0.117, at the four levels that serve best (Max 1960), to 0.089; at 3 bits from 0.035 to
0.024, at 4 from 0.0095 to 0.0065.

Shapes: n numbers of a row, N rows, r levels of a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["codes_of", "levels_of", "runs_of"]

_HALVES = {
    2: (0.1945, 0.6041, 1.0798, 1.8617),
    3: (0.1058, 0.2997, 0.5214, 0.7456, 1.0107, 1.3270, 1.7675, 2.4513),
    4: (
        *(0.0512, 0.1349, 0.2388, 0.3259, 0.4327, 0.5290, 0.6434, 0.7529),
        *(0.8826, 1.0161, 1.1752, 1.3614, 1.5940, 1.8895, 2.2877, 2.8962),
    ),
}
"""By bits, the levels above zero in units of a standard deviation; those below mirror them."""
_BLOCK = 4_096
"""Rows whose paths are looked for at once."""
_SUBSETS = 4


def runs_of(bits: Sequence[int]) -> list[tuple[slice, int]]:
    """Where numbers of as many bits stand side by side."""
    ends = [at for at in range(1, len(bits)) if bits[at] != bits[at - 1]]
    return [
        (slice(start, stop), bits[start])
        for start, stop in zip([0, *ends], [*ends, len(bits)], strict=True)
    ]


def codes_of(numbers: Tensor, bits: Sequence[int], weights: Tensor | None = None) -> Tensor:
    """The codes of the levels that are together nearest to the numbers of each row.

    Args:
        numbers: [..., n] float32, which deviate by about 1.
        bits: of each of the n, 2 to 4.
        weights: [..., n], what the square that a number is off counts; None: all alike.

    Returns:
        uint8 [..., n]: the bit that moves the register in the lowest place.
    """
    flat = numbers.reshape(-1, len(bits))
    apart = None if weights is None else weights.expand(numbers.shape).reshape(-1, len(bits))
    blocks = []
    for start in range(0, max(1, len(flat)), _BLOCK):
        rows = slice(start, start + _BLOCK)
        blocks.append(_codes(flat[rows].T, bits, None if apart is None else apart[rows].T))
    return torch.cat(blocks, dim=1).T.reshape(numbers.shape)


def levels_of(codes: Tensor, bits: Sequence[int]) -> Tensor:
    """[..., n] float32: the levels of codes."""
    places = _SUBSETS * (codes >> 1) + _subsets(codes & 1, dim=-1)
    runs = [_levels(count, codes)[places[..., run].long()] for run, count in runs_of(bits)]
    return torch.cat(runs, dim=-1)


def _levels(bits: int, like: Tensor) -> Tensor:
    """[r] float32, rising: what a number of so many bits can be."""
    above = _HALVES[bits]
    below = [-one for one in reversed(above)]
    return torch.tensor([*below, *above], dtype=torch.float32, device=like.device)


def _subsets(moving: Tensor, dim: int) -> Tensor:
    """which subset each number is of, from the bits that moved the register along ``dim``."""
    before = torch.nn.functional.pad(moving.movedim(dim, -1), (3, 0)).movedim(-1, dim)
    count = moving.shape[dim]
    first, second, third = (before.narrow(dim, 3 - back, count) for back in (1, 2, 3))
    return (moving ^ first ^ third) << 1 | second


def _codes(numbers: Tensor, bits: Sequence[int], weights: Tensor | None) -> Tensor:
    """uint8 [n, N]: the codes of rows [n, N], which lie along the last axis."""
    errors = numbers.new_empty(len(bits), _SUBSETS, numbers.shape[1])
    within = torch.empty_like(errors, dtype=torch.uint8)
    for run, count in runs_of(bits):
        part, levels = numbers[run].contiguous(), _levels(count, numbers)
        for subset in range(_SUBSETS):
            own = levels[subset::_SUBSETS]
            nearest = torch.bucketize(part, (own[1:] + own[:-1]) / 2)
            errors[run, subset] = (part - own[nearest]).square()
            within[run, subset] = nearest.to(torch.uint8)
    if weights is not None:
        errors *= weights.unsqueeze(1)
    moving = _path(errors)
    subsets = _subsets(moving, dim=0).unsqueeze(1)
    return within.gather(1, subsets.long()).squeeze(1) << 1 | moving


def _path(errors: Tensor) -> Tensor:
    """The bits that move the register along the path of the least sum.

    A state is the last bit, the one before it twice and the one before that four times; a path
    begins at 0. Two states, which differ in the oldest bit, lead to each.

    Args:
        errors: [n, 4, N] float32, of each number at the nearest level of each subset.

    Returns:
        uint8 [n, N].
    """
    count, _, rows = errors.shape
    bit = torch.arange(2, device=errors.device)
    oldest, older, last, moving = torch.meshgrid(bit, bit, bit, bit, indexing="ij")
    subset = ((moving ^ last ^ oldest) << 1 | older).flatten()
    sums = errors.new_full((8, rows), torch.inf)
    sums[0] = 0.0
    from_oldest = []
    for step in errors[:, subset].view(count, 2, 4, 2, rows).unbind():
        unset, set_ = (sums.view(2, 4, 1, rows) + step).view(2, 8, rows).unbind()
        from_oldest.append(set_ < unset)
        sums = torch.minimum(unset, set_)
    state, bits = sums.argmin(dim=0, keepdim=True), []
    for came in reversed(from_oldest):
        bits.append((state & 1).to(torch.uint8))
        state = state >> 1 | came.gather(0, state).long() << 2
    return torch.cat(bits[::-1])
