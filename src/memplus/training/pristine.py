"""The memory that a trained model comes with: full from the start.

Shapes: L layers, n rows, K rows per write, N short-term rows, d hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.model import MPlus
from memplus.passes.pristine import Pristine

__all__ = ["written_pristine"]


@torch.no_grad()
def written_pristine(model: MPlus, ids: list[int], seed: int = 0, *, stored: int = 0) -> Pristine:
    """Write running text chunk by chunk and keep the memory as the writes leave it.

    Args:
        model: trained.
        ids: text of at least N / K chunks; what comes after the last whole chunk is left.
        seed: of what is dropped.
        stored: rows of the long-term store to keep per layer, those dropped last. With M of them
            a read of a new memory has the same number of rows as every later one.

    Raises:
        ValueError: the text does not fill the pool and the store.
    """
    config = model.memory_config
    size, new, limit = config.chunk_tokens, config.tokens_per_write, config.short_term_tokens
    layers, width = len(model.backbone.layers), model.backbone.hidden_size
    generator = torch.Generator().manual_seed(seed)
    pool = _Rows(torch.zeros((layers, 0, width)), torch.zeros((layers, 0), dtype=torch.int64))
    store = pool
    for start in range(0, len(ids) - size + 1, size):
        chunk = torch.tensor([ids[start : start + size]])
        made = model.write_rows(chunk, pool.vectors[None, :, -new:])[0]
        fresh = torch.arange(made.shape[1] - 1, -1, -1).expand(layers, -1)
        pool, dropped = pool.split(max(0, pool.ages.shape[1] + new - limit), generator)
        store = _Rows(store.vectors, store.ages + new).joined(dropped.vectors, dropped.ages + new)
        pool = _Rows(pool.vectors, pool.ages + new).joined(made, fresh)
    if pool.ages.shape[1] < limit or store.ages.shape[1] < stored:
        held = pool.ages.shape[1] + store.ages.shape[1]
        raise ValueError(f"{len(ids)} tokens fill {held} of {limit + stored} rows")
    kept = Pristine(short_term=pool.vectors.contiguous(), ages=pool.ages)
    if stored:
        kept.long_term = list(store.vectors[:, -stored:].contiguous())
        kept.long_term_ages = list(store.ages[:, -stored:].contiguous())
        kept.keys = [_keys(model, layer, rows) for layer, rows in enumerate(kept.long_term)]
    return kept


def _keys(model: MPlus, layer: int, rows: Tensor) -> Tensor:
    keys: Tensor = model.weights.layer_retriever(layer).key_proj(
        model.backbone.layers[layer].norm(rows)
    )
    return keys


@dataclass
class _Rows:
    vectors: Tensor
    """[L, n, d]."""
    ages: Tensor
    """[L, n] tokens since each was made."""

    def joined(self, vectors: Tensor, ages: Tensor) -> _Rows:
        """With others after them."""
        return _Rows(torch.cat([self.vectors, vectors], dim=1), torch.cat([self.ages, ages], dim=1))

    def split(self, count: int, generator: torch.Generator) -> tuple[_Rows, _Rows]:
        """Those that stay and the ``count`` that go, drawn by layer; both keep their order."""
        order = torch.rand(self.ages.shape, generator=generator).argsort(dim=1)
        gone, stay = (part.sort(dim=1).values for part in (order[:, :count], order[:, count:]))
        return self._at(stay), self._at(gone)

    def _at(self, places: Tensor) -> _Rows:
        wide = places[..., None].expand(-1, -1, self.vectors.shape[2])
        return _Rows(self.vectors.gather(1, wide), self.ages.gather(1, places))
