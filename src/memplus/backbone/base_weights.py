"""The stock weights of a directory, whatever lies beside them there.

A bundle's base may be a stock decoder, or a model with memory whose adapters and memory weights are
left out. Names are those of the stock model without adapters; each tensor keeps the dtype in which
the directory stores it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from memplus.backbone.decoder_config import check_sizes
from memplus.backbone.layouts import (
    is_memory_checkpoint,
    read_checkpoint,
    read_tensors,
    weight_files,
)
from memplus.backbone.stock import load_stock
from memplus.errors import WeightsError

__all__ = ["adapted_names", "stored_weights", "untied_state"]

# In checkpoints of older libraries, made anew by every model.
_COMPUTED = re.compile(r"rotary_emb\.inv_freq$")


def untied_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """The model's weights by name; of tied ones, the one that the others follow."""
    state: dict[str, Tensor] = dict(model.state_dict())
    if getattr(model.config, "tie_word_embeddings", False):
        tied: Any = getattr(model, "_tied_weights_keys", None)
        for name in tied or {}:
            state.pop(name, None)
    return state


def adapted_names(names: Collection[str]) -> dict[str, str]:
    """Names of stock weights, as a model without adapters has them -> as these names have them."""
    return {_plain(name): name for name in names if _is_stock(name)}


def _plain(name: str) -> str:
    return name.replace(".base_layer.", ".")


def _is_stock(name: str) -> bool:
    return "lora_" not in name and not name.startswith("memplus.")


def stored_weights(path: Path, model: PreTrainedModel) -> dict[str, Tensor]:
    """The stock weights of a directory, as they are stored.

    Args:
        path: of a stock decoder or of a model with memory, ours or published.
        model: a model of the directory's config, without weights and with or without adapters.

    Returns:
        By the names of the stock model without adapters; tied ones once.

    Raises:
        MissingWeightsDirectory, UnknownModelError, UnsupportedModelError: see ``weight_files``.
        WeightsError: weights are missing, left over or misshapen.
        ConfigError: its config is of several times the size of its weights.
    """
    state = untied_state(model)
    shapes = {plain: state[name].shape for plain, name in adapted_names(state).items()}
    remembers = is_memory_checkpoint(path)
    held = read_checkpoint(path).tensors if remembers else read_tensors(path, weight_files(path))
    found = {_plain(name): tensor for name, tensor in held.items() if _is_stock(name)}
    check_sizes(model.config, {name: tuple(t.shape) for name, t in found.items()}, path)
    missing, unexpected = _differences(model, shapes, found)
    if (missing or unexpected) and not remembers:
        found = _as_loaded(path, found)
        missing, unexpected = _differences(model, shapes, found)
    wrong = {
        name: f"expected {list(shape)}, found {list(found[name].shape)}"
        for name, shape in shapes.items()
        if name in found and found[name].shape != shape
    }
    if missing or unexpected or wrong:
        raise WeightsError(path, missing=missing, unexpected=unexpected, misshapen=wrong)
    return {name: found[name] for name in shapes}


def _differences(
    model: PreTrainedModel, wanted: Collection[str], found: Collection[str]
) -> tuple[list[str], list[str]]:
    """Names that are missing, and those that are left over."""
    known = set(adapted_names(model.state_dict()))
    ignored: Any = getattr(model, "_keys_to_ignore_on_load_unexpected", None)
    patterns = [_COMPUTED, *map(re.compile, ignored or ())]
    over = [
        name
        for name in sorted(set(found) - known)
        if not any(pattern.search(name) for pattern in patterns)
    ]
    return sorted(set(wanted) - set(found)), over


def _as_loaded(path: Path, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers under the names that the library gives them when it loads the directory.

    Some families' files keep names of older versions, and only the library knows which is which.
    """
    dtypes = [tensor.dtype for tensor in stored.values() if tensor.is_floating_point()]
    widest = functools.reduce(torch.promote_types, dtypes) if dtypes else None
    return untied_state(load_stock(path, widest))
