"""The memory that comes with a checkpoint: kept as hidden vectors, projected once, shared by all.

Shapes: L layers, n rows of a pool with N slots or stored rows of a layer, d hidden size,
R retriever width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.config import MemoryConfig, require
from memplus.memory.layout import LongTermLayout
from memplus.memory.retriever import MemoryWeights
from memplus.memory.rows import RowTable
from memplus.memory.short_term import ShortTermPool, with_room
from memplus.memory.state import Memory
from memplus.passes.projection import long_term_columns, project_rows

__all__ = ["Pristine", "fill_pristine"]

_BLOCK = 4096


@dataclass
class Pristine:
    """Rows that every new memory starts from; empty lists and None where there are none."""

    short_term: Tensor | None = None
    """[L, n, d], oldest first: a full pool (n = N), as in published checkpoints, or an opening."""
    ages: Tensor | None = None
    """[L, n] tokens since each row was made; None: all 0, as in published checkpoints."""
    long_term: list[Tensor] = field(default_factory=list)
    """Per layer [n, d]."""
    keys: list[Tensor] = field(default_factory=list)
    """Per layer that has a retriever [n, R]: stored keys, never recomputed."""
    long_term_ages: list[Tensor] = field(default_factory=list)
    """Per layer [n]."""
    counters: list[Tensor] = field(default_factory=list)
    """Per layer [n], for counter eviction."""

    def tensors(self) -> dict[str, Tensor]:
        """By name, for saving."""
        named: dict[str, Tensor] = {}
        if self.short_term is not None:
            named["short_term"] = self.short_term
        if self.ages is not None:
            named["ages"] = self.ages
        for name in ("long_term", "keys", "long_term_ages", "counters"):
            for layer, tensor in enumerate(getattr(self, name)):
                stem = {"keys": "long_term_keys", "counters": "long_term_counters"}.get(name, name)
                named[f"{stem}.{layer}"] = tensor
        return named


@torch.inference_mode(mode=False)
@torch.no_grad()
def fill_pristine(
    memory: Memory, backbone: Backbone, weights: MemoryWeights, pristine: Pristine
) -> None:
    """Give an empty memory the rows that came with the model.

    Raises:
        ConfigError: the memory is one of spans, and the rows are not.
    """
    config = memory.config
    if config.retrieves_spans:
        _require_spans(config, pristine)
    if pristine.short_term is not None:
        hidden = pristine.short_term.to(backbone.device, backbone.dtype, copy=True)
        columns = project_rows(backbone, weights, hidden)
        recent = hidden[:, -config.tokens_per_write :].clone()
        rows = hidden.shape[1]
        pool = ShortTermPool(with_room(columns, config.short_term_tokens), recent, rows)
        if pristine.ages is not None:
            pool.birth[:, :rows] = -pristine.ages.to(pool.birth)
        memory.pool = pool
    if pristine.long_term and config.has_long_term:
        tables = [
            _table(backbone, weights, pristine, layer, config)
            for layer in range(len(pristine.long_term))
        ]
        memory.long_term = memory.long_term_of(tables)


def _require_spans(config: MemoryConfig, pristine: Pristine) -> None:
    """Refuse rows that are no whole spans, or not the same ones in every layer."""
    columns = [] if pristine.ages is None else [list(pristine.ages)]
    columns += [pristine.long_term_ages] if config.has_long_term else []
    counts = [0 if pristine.short_term is None else pristine.short_term.shape[1]]
    counts += [len(ages) for layers in columns for ages in layers]
    whole = all(count % config.span_rows == 0 for count in counts)
    alike = all(torch.equal(ages, layers[0]) for layers in columns for ages in layers)
    reason = "the rows that come with the model are not whole spans, the same in every layer"
    require(whole and alike, "retrieval", config.retrieval, reason)


def _table(
    backbone: Backbone,
    weights: MemoryWeights,
    pristine: Pristine,
    layer: int,
    config: MemoryConfig,
) -> RowTable:
    layout = LongTermLayout.of(config, len(backbone.layers))
    if not layout.keeps(layer):
        return RowTable({})
    hidden = pristine.long_term[layer].to(backbone.device, backbone.dtype, copy=True)
    blocks = [
        project_rows(backbone, weights, block[None], layer=layer) for block in hidden.split(_BLOCK)
    ]
    names = [name for name in long_term_columns(backbone) if name != "key"]
    columns = {name: torch.cat([block[name][0] for block in blocks]) for name in names}
    if layer in weights.retrieving:
        keys = pristine.keys[weights.retrieving.index(layer)]
        columns["key"] = keys.to(backbone.device, backbone.dtype)
    ages = pristine.long_term_ages[layer].to(backbone.device).long()
    columns["birth"] = -ages
    columns["write_id"] = torch.zeros_like(ages, dtype=torch.int32)
    if config.eviction.kind == "counter":
        columns["counter"] = pristine.counters[layer].to(backbone.device, torch.float32)
    return RowTable({n: column for n, column in columns.items() if layout.has(n, layer)})
