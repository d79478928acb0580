"""What is kept of a memory row: what reading needs, computed once.

With frozen weights a row is only ever read as key and value of its layer, so those are kept,
unrotated, with the retrieval key. Where they are wider than the hidden vector (full multi-head
models), the long-term memory keeps the hidden vector instead and a read projects what it retrieves.

Shapes: L layers, P rows, d hidden size, H key/value heads, D head width, R retriever width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from memplus.backbone.access import Backbone, Layer
from memplus.memory.retriever import MemoryWeights

__all__ = [
    "long_term_columns",
    "project_rows",
    "retrieval_keys",
    "retrieval_queries",
    "stored_as_hidden",
]


def stored_as_hidden(backbone: Backbone) -> bool:
    """Whether the long-term memory keeps hidden vectors rather than keys and values."""
    return 2 * backbone.kv_heads * backbone.head_dim > backbone.hidden_size


def long_term_columns(backbone: Backbone) -> tuple[str, ...]:
    """Columns of a long-term row."""
    return ("hidden", "key") if stored_as_hidden(backbone) else ("k", "v", "key")


@torch.no_grad()
def project_rows(
    backbone: Backbone, weights: MemoryWeights, hidden: Tensor, *, layer: int | None = None
) -> dict[str, Tensor]:
    """Columns of memory rows, under the read adapter.

    Args:
        backbone: the model.
        weights: the retriever.
        hidden: [L, P, d] row vectors of every layer; [1, P, d] of one where ``layer`` is given.
        layer: project for this layer only.

    Returns:
        ``k`` and ``v`` [L, P, H, D], ``key`` [layers that have a retriever, P, R] where there are
        any, and ``hidden`` [L, P, d] where the long-term memory keeps it.
    """
    layers = backbone.layers if layer is None else [backbone.layers[layer]]
    keys, values, retrieval = [], [], []
    full = torch.autocast(backbone.device.type, enabled=False)  # rows outlive the caller's autocast
    with full, backbone.lock, backbone.adapters.active(backbone.adapters.reading):
        for rows, access in zip(hidden, layers, strict=True):
            key, value = access.project(rows)
            keys.append(key)
            values.append(value)
            if weights.retriever is not None and access.index in weights.retrieving:
                retrieval.append(retrieval_keys(weights, access, rows))
    columns = {"k": torch.stack(keys), "v": torch.stack(values)}
    if retrieval:
        columns["key"] = torch.stack(retrieval)
    if stored_as_hidden(backbone):
        columns["hidden"] = hidden.detach().clone()
    return columns


def retrieval_keys(weights: MemoryWeights, access: Layer, rows: Tensor) -> Tensor:
    """f_k of a layer's rows (M+ section 3.3): [..., d] -> [..., R]; differentiable."""
    keys: Tensor = weights.layer_retriever(access.index).keys(access.norm(rows))
    return keys


def retrieval_queries(weights: MemoryWeights, access: Layer, hidden: Tensor) -> Tensor:
    """f_q of a layer's inputs (M+ section 3.3): [..., d] -> [..., R]; differentiable."""
    queries: Tensor = weights.layer_retriever(access.index).queries(access.norm(hidden))
    return queries
