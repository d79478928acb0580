"""What each head of each token finds in a bank, and what it reads there.

Both go in blocks of tokens: the scores of all chunks, and the keys and values that were found,
would be the largest tensors of a pass by far.

Shapes: B texts, T tokens, H query heads, G key/value heads, D head width, R banks,
a chunks of c tokens, n chunks that a head finds for a token. Of several banks each serves B / R
texts that stand together.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from memplus.systems.longmem.bank import Bank

__all__ = ["NO_CHUNK", "attend_chunks", "best_chunks", "mixed"]

NO_CHUNK = -1
"""In the place of a chunk: one of zeros, as the published code reads where it finds too few."""

_SCORES = 1 << 22
_GATHERED = 1 << 22
"""Numbers that a block makes: 16 MB in float32."""


@torch.no_grad()
def best_chunks(query: Tensor, bank: Bank, count: int, *, filled: bool = False) -> Tensor:
    """The chunks whose mean key is nearest to each head's query, by inner product.

    Args:
        query: [B, T, H, D] without positions.
        bank: of R texts, not empty.
        count: n, or as many chunks as there are.
        filled: with ``NO_CHUNK`` up to n, where there are fewer.

    Returns:
        [B, T, H, n] chunks of the bank, the best first.
    """
    found = min(count, len(bank))
    lanes = _lanes(query, bank)
    means = bank.means.permute(1, 2, 3, 0)
    size = max(1, _SCORES // (bank.rows * query.shape[2] * len(bank)))
    blocks = [
        torch.matmul(block.flatten(2, 3), means).topk(found, dim=-1).indices
        for block in lanes.split(size, dim=2)
    ]
    best: Tensor = torch.cat(blocks, dim=2).unflatten(2, (lanes.shape[2], -1))
    index = best.permute(0, 2, 1, 3, 4).reshape(*query.shape[:3], found)
    if filled and found < count:
        index = torch.nn.functional.pad(index, (0, count - found), value=NO_CHUNK)
    return index


def _lanes(query: Tensor, bank: Bank) -> Tensor:
    """[B, T, H, D] -> [R, G, B / R * T, H / G, D]: what goes through each head of each bank."""
    by_bank = query.to(bank.means.dtype).reshape(bank.rows, -1, *query.shape[2:])
    by_group: Tensor = by_bank.unflatten(2, (bank.shape.heads, -1))
    return by_group.transpose(1, 2)


def attend_chunks(query: Tensor, bank: Bank, index: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of each head over the tokens of its own chunks alone, without positions.

    Differentiable by the query; the bank is constant.

    Args:
        query: [B, T, H, D] without positions.
        bank: as for ``best_chunks``.
        index: [B, T, H, n].

    Returns:
        [B, T, H, D], and the weight of each chunk [B, T, H, n] float32.
    """
    texts, length, heads, width = query.shape
    flat = _table_rows(bank, index)
    size = max(1, _GATHERED // (heads * index.shape[3] * bank.shape.chunk_tokens * width))
    asking, places = query.reshape(-1, heads, width), flat.reshape(-1, heads, index.shape[3])
    parts = [
        _block(bank, one, place)
        for one, place in zip(asking.split(size), places.split(size), strict=True)
    ]
    out = torch.cat([part[0] for part in parts]).reshape(query.shape)
    weights = torch.cat([part[1] for part in parts]).reshape(texts, length, heads, -1)
    return out, weights


def _table_rows(bank: Bank, index: Tensor) -> Tensor:
    """Where each head's chunks lie in the bank's keys as [a * R * G, c, D]; -1 stays -1."""
    texts, _, heads, _ = index.shape
    groups = bank.shape.heads
    head = torch.arange(heads, device=index.device) // (heads // groups)
    text = torch.arange(texts, device=index.device) // (texts // bank.rows)
    flat = (index * bank.rows + text[:, None, None, None]) * groups + head[:, None]
    return torch.where(index == NO_CHUNK, NO_CHUNK, flat)


def _block(bank: Bank, query: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Of some tokens; found again in the backward pass rather than kept until then."""
    if torch.is_grad_enabled() and query.requires_grad:
        result: tuple[Tensor, Tensor] = checkpoint(
            _read, bank, query, places, use_reentrant=False, preserve_rng_state=False
        )
        return result
    return _read(bank, query, places)


def _read(bank: Bank, query: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Queries [N, H, D] over rows [N, H, n] of the bank -> [N, H, D] and [N, H, n]."""
    found = (_gathered(column, places) for column in (bank.keys, bank.values))
    keys, values = (one.to(query.dtype) for one in found)
    scores = torch.matmul(keys, query[..., None]).squeeze(-1).float() * query.shape[-1] ** -0.5
    weights = scores.softmax(dim=-1)
    out = torch.matmul(weights.to(values.dtype)[:, :, None], values).squeeze(2)
    return out, weights.unflatten(-1, (places.shape[2], -1)).sum(dim=-1)


def _gathered(column: Tensor, places: Tensor) -> Tensor:
    """[a, R, G, c, D] at [N, H, n] -> [N, H, n * c, D]."""
    rows = column.flatten(0, 2).flatten(1)
    found = rows.index_select(0, places.clamp(min=0).flatten())
    found = found.view(*places.shape, -1)
    absent = places == NO_CHUNK
    if bool(absent.any()):
        found = found.masked_fill(absent[..., None], 0)
    return found.reshape(*places.shape[:2], -1, column.shape[-1])


def mixed(local: Tensor, memory: Tensor, gate: Tensor) -> Tensor:
    """(1 - s) of what a token's own text gives, and s of what its memory gives.

    Args:
        local: [B, T, H, D].
        memory: [B, T, H, D].
        gate: [H]; s is its sigmoid.
    """
    share = torch.sigmoid(gate.float()).to(local.dtype)[:, None]
    return (1 - share) * local + share * memory
