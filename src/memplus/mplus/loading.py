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
from memplus.backbone.layouts import Checkpoint
from memplus.backbone.stock import empty_model, finish_model
from memplus.errors import UnknownModelError, UntrainedBaseError, WeightsError
from memplus.memory.retriever import MemoryWeights
from memplus.mplus.base_cache import cached_base, pull
from memplus.mplus.base_progress import watch_on_stderr
from memplus.mplus.base_sources import SOURCES
from memplus.mplus.bases import known_bases
from memplus.mplus.bundled import BUNDLED
from memplus.mplus.placement import HubOptions
from memplus.passes.pristine import Pristine

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedModel

__all__ = ["Parts", "assemble_model", "resolve", "resolve_backbone", "resolve_memory_model"]

_PREFIX = "memplus."


@dataclass
class Parts:
    """What an ``MPlus`` is made of."""

    model: PreTrainedModel
    weights: MemoryWeights
    pristine: Pristine
    kept: dict[str, Tensor]
    """Weights of the checkpoint that take no part in anything, kept for saving."""


def resolve(name: str | Path, hub: HubOptions | None = None) -> Path:
    """A bundled name, a directory or a hub id -> a directory.

    Args:
        name: of the model.
        hub: passed on to the hub's client.

    Raises:
        UnknownModelError: it is none of them, or the hub cannot be reached.
    """
    if str(name) in BUNDLED:
        return BUNDLED[str(name)].path
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    text = str(name)
    if path.exists() or text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise UnknownModelError(text)
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
        options: Any = hub or {}
        return Path(snapshot_download(text, allow_patterns=patterns, **options))
    except Exception as error:  # whatever the hub's client raises, the name is not usable
        raise UnknownModelError(text, reason=f"the hub did not give it: {error}") from error


def resolve_memory_model(name: str | Path, hub: HubOptions | None = None) -> Path:
    """Where a model with memory lies: as ``resolve``.

    Raises:
        UnknownModelError: see ``resolve``.
        UntrainedBaseError: it is the name of a base model, which has no memory.
    """
    base = known_bases().get(str(name))
    if base is None:
        return resolve(name, hub)
    found = cached_base(base)
    raise UntrainedBaseError(
        base.name, state="not fetched yet" if found is None else f"it lies in {found.path}"
    )


def resolve_backbone(name: str | Path, hub: HubOptions | None = None) -> Path:
    """Where a stock decoder lies: as ``resolve``, or a base model, fetched where it is missing.

    Raises:
        UnknownModelError: see ``resolve``.
        ModelError, StorageError: see ``base_cache.pull``.
    """
    base = known_bases().get(str(name))
    if base is None:
        return resolve(name, hub)
    local = bool((hub or {}).get("local_files_only"))
    with watch_on_stderr() as watch:
        return pull(base, watch=watch, sources=() if local else SOURCES).path


def assemble_model(
    checkpoint: Checkpoint, dtype: torch.dtype | None, device: torch.device
) -> Parts:
    """Build the modules of a checkpoint and put its weights in.

    Raises:
        WeightsError: anything missing, unexpected or misshapen, by name.
    """
    check_supported(checkpoint.config)
    dtype = dtype or getattr(checkpoint.config, "dtype", None) or torch.float32
    with torch.device("meta"):
        model = empty_model(checkpoint.config, dtype)
        if checkpoint.memory.adapters is not None:
            add_adapters(model, checkpoint.memory.adapters)
        layers = int(checkpoint.config.num_hidden_layers)
        weights = MemoryWeights(layers, int(checkpoint.config.hidden_size), checkpoint.memory)
    ours = {n: t for n, t in checkpoint.tensors.items() if n.startswith(_PREFIX)}
    theirs = {n: t for n, t in checkpoint.tensors.items() if not n.startswith(_PREFIX)}
    pristine, rest = _take_pristine(ours, checkpoint)
    kept = {n: t for n, t in rest.items() if n.startswith("memplus.kept.")}
    rest = {n.removeprefix(_PREFIX): t for n, t in rest.items() if n not in kept}
    _check(checkpoint, model, theirs, weights, rest)
    _assign(model, theirs, dtype, device)
    _assign(weights, rest, dtype, device)
    finish_model(model, checkpoint.config, checkpoint.path, device)
    return Parts(
        model, weights, pristine, {n.removeprefix("memplus.kept."): t for n, t in kept.items()}
    )


def _expected(model: nn.Module, config: Any) -> dict[str, Tensor]:
    expected: dict[str, Tensor] = dict(model.state_dict())
    if getattr(config, "tie_word_embeddings", False):
        for name in getattr(model, "_tied_weights_keys", None) or {}:
            expected.pop(name, None)
    return expected


def _check(
    checkpoint: Checkpoint,
    model: nn.Module,
    theirs: dict[str, Tensor],
    weights: MemoryWeights,
    ours: dict[str, Tensor],
) -> None:
    expected = _expected(model, checkpoint.config)
    expected |= {_PREFIX + name: tensor for name, tensor in weights.state_dict().items()}
    found = theirs | {_PREFIX + name: tensor for name, tensor in ours.items()}
    requires = checkpoint.layout.requires
    missing = sorted(name for name in expected if name not in found and requires(name))
    tied = set(model.state_dict()) - set(expected)
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
    layers = range(int(checkpoint.config.num_hidden_layers))
    lists = {
        name: [found.pop(f"{stem}{name}.{layer}") for layer in layers]
        for name in _STORED
        if f"{stem}{name}.0" in expected
    }
    pristine = Pristine(
        short_term=found.pop(stem + "short_term", None),
        ages=found.pop(stem + "ages", None),
        long_term=lists.get("long_term", []),
        keys=lists.get("long_term_keys", []),
        long_term_ages=lists.get("long_term_ages", []),
        counters=lists.get("long_term_counters", []),
    )
    return pristine, rest | found


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
        expected[stem + "short_term"] = (layers, memory.short_term_tokens, width)
    if stem + "ages" in found:
        expected[stem + "ages"] = (layers, memory.short_term_tokens)
    stored = any(name.startswith(stem + "long_term") for name in found)
    if memory.has_long_term and (stored or checkpoint.published):
        for layer in range(layers):
            rows = found.get(f"{stem}long_term.{layer}")
            count = int(rows.shape[0]) if rows is not None and rows.dim() else 0
            expected[f"{stem}long_term.{layer}"] = (count, width)
            expected[f"{stem}long_term_keys.{layer}"] = (count, memory.retriever_dim)
            expected[f"{stem}long_term_ages.{layer}"] = (count,)
            if memory.eviction.kind == "counter":
                expected[f"{stem}long_term_counters.{layer}"] = (count,)
    return expected
