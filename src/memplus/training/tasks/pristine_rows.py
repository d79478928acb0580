"""The memory that a trained model comes with: full from the start, or a few rows to begin with.

Shapes: L layers, n rows, K rows per write, N short-term rows, d hidden size.
"""

from __future__ import annotations

import torch

from memplus.config import CounterEviction
from memplus.mplus.model import MPlus
from memplus.passes.pristine import Pristine
from memplus.training.tasks.lanes import LaneMemory
from memplus.training.tasks.retrieval import dropped_rows, retrieval_key

__all__ = ["opening_rows", "pristine_of", "written_pristine"]


@torch.no_grad()
def written_pristine(model: MPlus, ids: list[int], seed: int = 0, *, stored: int = 0) -> Pristine:
    """Write running text chunk by chunk and keep the memory as the writes leave it.

    Args:
        model: trained.
        ids: text of at least N / K chunks; what comes after the last whole chunk is left.
        seed: of what is dropped.
        stored: rows of the long-term memory to keep per layer, the youngest. With M of them a
            read of a new memory has the same number of rows as every later one.

    Raises:
        ValueError: the text does not fill the pool and the long-term memory.
    """
    config = model.memory_config
    shape = (1, len(model.backbone.layers), model.backbone.hidden_size)
    like = torch.empty(0, dtype=model.backbone.dtype, device=model.device)
    long_term = None
    if stored:
        long_term = dropped_rows(model, 1, stored, on_cpu=True)
    memory = LaneMemory(config, shape, like, long_term)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(ids) - config.chunk_tokens + 1, config.chunk_tokens):
        chunk = torch.tensor([ids[start : start + config.chunk_tokens]], device=model.device)
        memory.write(model.core.write_rows(chunk, memory.context()), [generator])
        memory.detach_new_rows()
    held = memory.count + (long_term.filled if long_term is not None else 0)
    if held < config.short_term_tokens + stored:
        needed = config.short_term_tokens + stored
        raise ValueError(f"{len(ids)} tokens fill {held} of {needed} rows")
    return pristine_of(model, memory, stored)


@torch.no_grad()
def opening_rows(model: MPlus, text: str) -> Pristine:
    """The rows that one write of a short text leaves in an empty memory.

    A model that learned from memories of several writes may not trust one that holds a single short
    text. Behind an opening no memory is so empty.

    Args:
        model: trained.
        text: that answers no question, of at most one chunk.

    Raises:
        ValueError: it has no tokens or more than a chunk.
    """
    ids, most = model.encode(text), model.memory_config.chunk_tokens
    if not 0 < len(ids) <= most:
        raise ValueError(f"an opening has 1 to {most} tokens; this text has {len(ids)}")
    chunk = torch.tensor([ids], device=model.device)
    rows = model.core.write_rows(chunk, model.core.context([None]))[0]
    layers, count, _ = rows.shape
    ages = torch.arange(count - 1, -1, -1).repeat(layers, 1)
    return Pristine(rows.detach().cpu().contiguous(), ages)


@torch.no_grad()
def pristine_of(model: MPlus, memory: LaneMemory, stored: int) -> Pristine:
    """The first document's rows, and the ``stored`` youngest long-term ones with their keys.

    Keys are those that the rows were dropped with, or of spans, which are dropped without, those of
    the model's weights. Counters, where rows have them, begin as of rows that were just merged.
    """
    rows, long_term = memory.detached, memory.long_term
    kept = Pristine(rows.vectors[0].cpu().contiguous(), (memory.clock - rows.birth[0]).cpu())
    if long_term is not None and min(stored, long_term.filled):
        held, eviction = long_term.held, model.memory_config.eviction
        for layer, births in enumerate(held.birth[0]):
            order = births.sort(stable=True).indices[-stored:]
            kept.long_term.append(held.vectors[0, layer, order].cpu())
            if not model.memory_config.retrieves_spans:
                kept.keys.append(long_term.keys[0, layer, order].cpu())
            elif layer in model.weights.retrieving:
                vectors = held.vectors[0, layer, order].to(model.device)
                kept.keys.append(retrieval_key(model, layer, vectors).cpu())
            kept.long_term_ages.append((memory.clock - births[order]).cpu())
            if isinstance(eviction, CounterEviction):
                kept.counters.append(torch.full((len(order),), eviction.initial))
    return kept
