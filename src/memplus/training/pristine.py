"""The memory that a trained model comes with: full from the start.

Shapes: L layers, K rows per write, N short-term rows, d hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from memplus.model import MPlus
from memplus.passes.pristine import Pristine

__all__ = ["written_pristine"]


@torch.no_grad()
def written_pristine(model: MPlus, ids: list[int], seed: int = 0) -> Pristine:
    """Write running text chunk by chunk and keep the pool as the writes leave it.

    Args:
        model: trained.
        ids: text of at least N / K chunks; what comes after the last whole chunk is left.
        seed: of what is dropped.

    Raises:
        ValueError: the text does not fill the pool.
    """
    config = model.memory_config
    size, new, limit = config.chunk_tokens, config.tokens_per_write, config.short_term_tokens
    layers, width = len(model.backbone.layers), model.backbone.hidden_size
    generator = torch.Generator().manual_seed(seed)
    rows = torch.zeros((layers, 0, width))
    ages = torch.zeros((layers, 0), dtype=torch.int64)
    for start in range(0, len(ids) - size + 1, size):
        chunk = torch.tensor([ids[start : start + size]])
        made = model.write_rows(chunk, rows[None, :, -new:])[0]
        rows, ages = _keep(rows, ages, max(0, rows.shape[1] + new - limit), generator)
        fresh = torch.arange(made.shape[1] - 1, -1, -1).expand(layers, -1)
        rows, ages = torch.cat([rows, made], dim=1), torch.cat([ages + new, fresh], dim=1)
    if rows.shape[1] < limit:
        raise ValueError(f"{len(ids)} tokens fill {rows.shape[1]} of {limit} rows")
    return Pristine(short_term=rows.contiguous(), ages=ages)


def _keep(
    rows: Tensor, ages: Tensor, dropped: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Drop as many rows of each layer, drawn by layer; the others keep their order."""
    order = torch.rand(ages.shape, generator=generator).argsort(dim=1)
    kept = order[:, dropped:].sort(dim=1).values
    return rows.gather(1, kept[..., None].expand(-1, -1, rows.shape[2])), ages.gather(1, kept)
