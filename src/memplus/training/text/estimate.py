"""How much memory a run will need, reckoned before its first step.

An estimate: allocators and libraries take more, kernels that fuse take less.

Shapes: B documents of a process, L layers, N short-term rows, M retrieved rows, S stored rows,
d hidden size, f feed-forward width, V vocabulary, H query heads, G key/value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping

import psutil
import torch

from memplus.errors import TrainingBudgetError
from memplus.mplus.model import MPlus
from memplus.training.tasks.protocol import Sizes
from memplus.training.text.run_config import TrainingConfig

__all__ = ["check_memory", "needed_bytes"]

_GIB = 2**30
_FLOAT = 4
_LOGITS = 3
"""Logits, their softmax and their gradient."""
_WIDTHS = 16
"""Vectors of the hidden size that a layer keeps of a token for its backward pass."""
_WIDE = 4
"""And of the feed-forward width."""
_SLACK = 1.25
"""What runs on a CPU took beyond the tensors counted here."""
_LONG_TERM = "long-term memories"
_SCORES = 3
"""Plain attention keeps its scores, the masked ones and their softmax."""


def needed_bytes(model: MPlus, config: TrainingConfig, processes: int = 1) -> dict[str, int]:
    """What training adds to the loaded weights, by what it is for, in bytes per process.

    Args:
        model: with its trainable weights chosen.
        config: of the run.
        processes: which divide the documents, and the weights where ``run.sharded`` is on.
    """
    trained = sum(w.numel() for w in model.parameters() if w.requires_grad)
    divided = processes if config.run.sharded else 1
    moments = 1 if config.optimizer.kind == "muon" else 2
    share = config.run.documents // processes
    layers, width = len(model.backbone.layers), model.backbone.hidden_size
    rows = config.memory
    item = model.backbone.dtype.itemsize
    # Spans are asked for by keys of the day, which are not kept.
    kept = width if rows.retrieves_spans else width + rows.retriever_dim
    passes = [one for task in config.tasks for one in task.passes(rows)]
    return {
        "gradients": trained * _FLOAT // divided,
        "optimizer": moments * trained * _FLOAT // divided,
        # The short-term rows are there twice while a write moves them.
        "memories": 2 * share * layers * rows.short_term_tokens * width * item,
        _LONG_TERM: share * layers * config.run.stored_rows * kept * item,
        "activations": share * max(_activations(model, config, one) for one in passes),
    }


def _activations(model: MPlus, config: TrainingConfig, largest: Sizes) -> int:
    """Bytes that one document's backward pass needs."""
    stock, rows = model.backbone.config, config.memory
    layers, width = len(model.backbone.layers), model.backbone.hidden_size
    heads, head = int(stock.num_attention_heads), model.backbone.head_dim
    each, chunk = largest.target_tokens, largest.chunk_tokens
    target = largest.reads * each
    writes = min(largest.gradient_writes, largest.chunks)
    prefix = rows.short_term_tokens + rows.retrieved_tokens
    item = 2 if config.run.precision == "bfloat16" else _FLOAT
    # Keys, values and vectors of the rows are kept in every layer, checkpointing or not.
    behind = layers * prefix * (2 * model.backbone.kv_heads * head + width) * item
    inner = _WIDTHS * width + _WIDE * int(stock.intermediate_size)
    tokens = target + writes * chunk
    scores = 0
    if model.device.type == "cpu":
        # Training takes plain attention on a CPU.
        keys = rows.tokens_per_write + chunk
        scores = _SCORES * heads * (target * (prefix + each) + writes * chunk * keys)
    layer = (tokens * inner + scores) * item
    kept = layers * layer
    if config.model.gradient_checkpointing:
        kept = layers * tokens * width * item + layer
    vocabulary = int(stock.vocab_size)
    scored = each if largest.scored is None else min(each, largest.scored)
    read = largest.reads * scored + (writes * chunk if config.run.language else 0)
    return int(_SLACK * (behind + kept + _LOGITS * read * vocabulary * _FLOAT))


def check_memory(model: MPlus, config: TrainingConfig, processes: int = 1) -> None:
    """Refuse a run that would not fit.

    Raises:
        TrainingBudgetError: with the numbers.
    """
    parts = needed_bytes(model, config, processes)
    free = int(psutil.virtual_memory().available) // processes  # they share what is free
    if model.device.type == "cuda" and config.run.store_on_cpu:
        apart = {_LONG_TERM: parts.pop(_LONG_TERM)}
        if config.run.memory_gib is None:
            _require(free, apart)
    loaded = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if config.run.memory_gib is not None:
        given = int(config.run.memory_gib * _GIB) - loaded
    elif model.device.type == "cuda":
        given = int(torch.cuda.mem_get_info(model.device)[0])
    else:
        given = free
    _require(given, parts)


def _require(given: int, parts: Mapping[str, int]) -> None:
    needed = sum(parts.values())
    if needed > given:
        shown = ", ".join(f"{name} {size / _GIB:.2f}" for name, size in parts.items())
        raise TrainingBudgetError(needed=needed / _GIB, given=given / _GIB, parts=shown)
