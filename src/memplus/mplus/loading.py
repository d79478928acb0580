"""From a checkpoint on disk to live modules, with every weight accounted for.

Knows checkpoints, stock models and what memory adds to them; the facade calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from memplus.backbone.access import check_supported
from memplus.backbone.adapters import add_adapters
from memplus.backbone.base_weights import adapted_names, untied_state
from memplus.backbone.layouts import Checkpoint
from memplus.backbone.stock import empty_model, finish_model
from memplus.errors import WeightsError
from memplus.memory.retriever import MemoryWeights
from memplus.mplus.bundles import base_weights, check_adapters
from memplus.passes.pristine import Pristine

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedModel

__all__ = ["Parts", "assemble_model"]

_PREFIX = "memplus."


@dataclass
class Parts:
    """What an ``MPlus`` is made of."""

    model: PreTrainedModel
    weights: MemoryWeights
    pristine: Pristine
    kept: dict[str, Tensor]
    """Weights of the checkpoint that take no part in anything, kept for saving."""


def assemble_model(
    checkpoint: Checkpoint, dtype: torch.dtype | None, device: torch.device
) -> Parts:
    """Build the modules of a checkpoint and put its weights in, those of a bundle's base too.

    Raises:
        WeightsError: anything missing, unexpected or misshapen, by name.
        BundleError: a bundle's base or its adapters are others than it says.
    """
    check_supported(checkpoint.config)
    dtype = dtype or getattr(checkpoint.config, "dtype", None) or torch.float32
    with torch.device("meta"):
        model = empty_model(checkpoint.config, dtype)
    base = {} if checkpoint.base is None else base_weights(checkpoint, model)
    with torch.device("meta"):
        if checkpoint.memory.adapters is not None:
            add_adapters(model, checkpoint.memory.adapters)
        layers = int(checkpoint.config.num_hidden_layers)
        weights = MemoryWeights(layers, int(checkpoint.config.hidden_size), checkpoint.memory)
    ours = {n: t for n, t in checkpoint.tensors.items() if n.startswith(_PREFIX)}
    theirs = {n: t for n, t in checkpoint.tensors.items() if not n.startswith(_PREFIX)}
    pristine, rest = _take_pristine(ours, checkpoint)
    kept = {n: t for n, t in rest.items() if n.startswith("memplus.kept.")}
    rest = {n.removeprefix(_PREFIX): t for n, t in rest.items() if n not in kept}
    if checkpoint.base is not None:
        check_adapters(checkpoint, model)
    _check(checkpoint, model, theirs, weights, rest)
    names = adapted_names(model.state_dict())
    theirs |= {names[name]: tensor for name, tensor in base.items()}
    _assign(model, theirs, dtype, device)
    _assign(weights, rest, dtype, device)
    finish_model(model, checkpoint.config, _with_rules(checkpoint), device)
    return Parts(
        model, weights, pristine, {n.removeprefix("memplus.kept."): t for n, t in kept.items()}
    )


def _with_rules(checkpoint: Checkpoint) -> Path:
    """The directory whose generation rules hold: a bundle may have its own."""
    own = (checkpoint.path / "generation_config.json").is_file()
    return checkpoint.path if own or checkpoint.base_path is None else checkpoint.base_path


def _check(
    checkpoint: Checkpoint,
    model: PreTrainedModel,
    theirs: dict[str, Tensor],
    weights: MemoryWeights,
    ours: dict[str, Tensor],
) -> None:
    untied, requires = untied_state(model), checkpoint.layout.requires
    held = untied | {_PREFIX + name: tensor for name, tensor in weights.state_dict().items()}
    expected = {name: tensor for name, tensor in held.items() if requires(name)}
    found = theirs | {_PREFIX + name: tensor for name, tensor in ours.items()}
    missing = sorted(name for name in expected if name not in found)
    tied = {name for name in model.state_dict() if name not in untied and requires(name)}
    unexpected = sorted(set(found) - set(expected) - tied)
    shapes = {
        name: f"expected {list(expected[name].shape)}, found {list(found[name].shape)}"
        for name in sorted(set(expected) & set(found))
        if expected[name].shape != found[name].shape
    }
    if missing or unexpected or shapes:
        raise WeightsError(
            checkpoint.path, missing=missing, unexpected=unexpected, misshapen=shapes
        )


def _assign(
    module: nn.Module, tensors: dict[str, Tensor], dtype: torch.dtype, device: torch.device
) -> None:
    flags = {name: weight.requires_grad for name, weight in module.named_parameters()}
    # A copy of its own for each: where a file happens to place a tensor changes the last bit of
    # matrix products, and a saved model must give the same logits as the one it was saved from.
    cast = {
        name: tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in tensors.items()
    }
    module.load_state_dict(cast, assign=True, strict=False)
    tie: Any = getattr(module, "tie_weights", None)
    if tie is not None:
        tie()
    for name, weight in module.named_parameters():
        weight.requires_grad_(flags.get(name, True))


def _take_pristine(
    ours: dict[str, Tensor], checkpoint: Checkpoint
) -> tuple[Pristine, dict[str, Tensor]]:
    """Split the pristine rows off our tensors and check them by name and shape."""
    stem = "memplus.pristine."
    found = {n: t for n, t in ours.items() if n.startswith(stem)}
    rest = {n: t for n, t in ours.items() if not n.startswith(stem)}
    expected = _pristine_shapes(checkpoint, found, stem)
    wrong = {
        name: f"expected {list(shape)}, found {list(found[name].shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name].shape) != shape
    }
    missing = [name for name in expected if name not in found]
    if missing or wrong:
        raise WeightsError(checkpoint.path, missing=missing, misshapen=wrong)
    lists = {
        name: [found.pop(one) for one in expected if one.startswith(f"{stem}{name}.")]
        for name in _STORED
    }
    pristine = Pristine(
        short_term=found.pop(stem + "short_term", None),
        ages=found.pop(stem + "ages") if stem + "ages" in expected else None,
        long_term=lists.get("long_term", []),
        keys=lists.get("long_term_keys", []),
        long_term_ages=lists.get("long_term_ages", []),
        counters=lists.get("long_term_counters", []),
    )
    return pristine, rest | found


def _pristine_rows(checkpoint: Checkpoint, found: Tensor | None) -> int:
    """How many rows the pool starts with: a full one, as published, or fewer, an opening."""
    full = checkpoint.memory.short_term_tokens
    if checkpoint.published or found is None or found.dim() != 3:
        return full
    return min(full, int(found.shape[1]))


_STORED = ("long_term", "long_term_keys", "long_term_ages", "long_term_counters")


def _pristine_shapes(
    checkpoint: Checkpoint, found: dict[str, Tensor], stem: str
) -> dict[str, tuple[int, ...]]:
    """Which pristine tensors must be there, and their shapes."""
    config, memory = checkpoint.config, checkpoint.memory
    layers, width = int(config.num_hidden_layers), int(config.hidden_size)
    expected: dict[str, tuple[int, ...]] = {}
    tiled = memory.first_write == "tile"
    if stem + "short_term" in found or (checkpoint.published and not tiled):
        begun = _pristine_rows(checkpoint, found.get(stem + "short_term"))
        expected[stem + "short_term"] = (layers, begun, width)
        if stem + "ages" in found:  # without rows it belongs to nothing, and is named as such
            expected[stem + "ages"] = (layers, begun)
    stored = any(name.startswith(stem + "long_term") for name in found)
    if memory.has_long_term and (stored or checkpoint.published):
        keyed = memory.retrieving_layers(layers)
        for layer in range(layers):
            rows = found.get(f"{stem}long_term.{layer}")
            count = int(rows.shape[0]) if rows is not None and rows.dim() else 0
            expected[f"{stem}long_term.{layer}"] = (count, width)
            if layer in keyed:
                keys = f"{stem}long_term_keys.{keyed.index(layer)}"
                expected[keys] = (count, memory.retriever_dim)
            expected[f"{stem}long_term_ages.{layer}"] = (count,)
            if memory.eviction.kind == "counter":
                expected[f"{stem}long_term_counters.{layer}"] = (count,)
    return expected
