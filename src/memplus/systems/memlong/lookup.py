"""Which chunks of each bank a text is read with, and their keys and values side by side.

Shapes: B rows, P retrieved rows, G key/value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.systems.memlong.bank import Bank
from memplus.systems.memlong.embedders import Embedder

__all__ = ["Found", "best_chunks", "gathered"]


def best_chunks(bank: Bank, embedder: Embedder, query: Tensor, count: int) -> list[int]:
    """The chunks that fit a query best, the best first; of equals the older.

    Args:
        bank: they are in.
        embedder: ranks them.
        query: as the embedder makes it.
        count: how many at most.
    """
    if not len(bank) or not count:
        return []
    order = embedder.scores(bank, query).sort(descending=True, stable=True).indices
    return [int(one) for one in order[:count]]


@dataclass(frozen=True)
class Found:
    """What a text is read with, for each row of a batch."""

    chunks: list[list[int]]
    """Of each row, the best first."""
    keys: Tensor
    """[B, G, P, D] unrotated; of each row in the order of time, padding behind."""
    values: Tensor
    """[B, G, P, D]."""
    there: Tensor | None
    """[B, P] false at padding; None where there is none."""
    owners: Tensor
    """[B, P]: whose row it is, counted in the order of time; at padding any."""

    @property
    def rows(self) -> int:
        """P."""
        return int(self.keys.shape[2])


def gathered(banks: Sequence[Bank], chunks: list[list[int]]) -> Found | None:
    """Keys and values of chunks, each row's in the order of time; None where there are none.

    Args:
        banks: B.
        chunks: of each.
    """
    pairs = list(zip(banks, chunks, strict=True))
    indices = [bank.rows_of(sorted(found)) for bank, found in pairs]
    most = max(len(one) for one in indices)
    if not most:
        return None
    device = banks[0].counters.device
    parts: dict[str, list[Tensor]] = {"keys": [], "values": []}
    for (bank, _), index in zip(pairs, indices, strict=True):
        for name, part in parts.items():
            part.append(_padded(bank.rows.take(name, index.to(device)), most))
    counts = torch.tensor([len(one) for one in indices], device=device)
    full = all(len(one) == most for one in indices)
    there = None if full else torch.arange(most, device=device)[None] < counts[:, None]
    keys, values = (torch.stack(parts[name]).transpose(1, 2) for name in ("keys", "values"))
    owners = torch.stack([_owners(bank, sorted(found), most) for bank, found in pairs])
    return Found(chunks, keys.contiguous(), values.contiguous(), there, owners.to(device))


def _padded(rows: Tensor, count: int) -> Tensor:
    missing = count - rows.shape[0]
    return torch.cat([rows, rows.new_zeros((missing, *rows.shape[1:]))]) if missing else rows


def _owners(bank: Bank, chunks: Sequence[int], count: int) -> Tensor:
    lengths = torch.tensor([bank.lengths[one] for one in chunks], dtype=torch.int64)
    owners = torch.arange(len(chunks)).repeat_interleave(lengths)
    return torch.nn.functional.pad(owners, (0, count - len(owners)))
