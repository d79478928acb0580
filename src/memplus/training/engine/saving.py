"""How a model is made of another one, and saved."""

from __future__ import annotations

from pathlib import Path

import torch

from memplus.config import MemoryConfig
from memplus.memory.retriever import MemoryWeights
from memplus.mplus.model import MPlus
from memplus.mplus.pretrained import REFERENCE

__all__ = ["made_over", "save_as_loaded"]


def made_over(model: MPlus, config: MemoryConfig, weights: MemoryWeights | None = None) -> MPlus:
    """The same decoder with another config of its memory.

    Args:
        model: its decoder goes into the result.
        config: of the memory.
        weights: of the memory; None: the model's.
    """
    made = type(model)(
        model.model, config, weights or model.weights, tokenizer=model.core.optional_tokenizer,
        prompt=model.prompt, pristine=model.pristine,
    )  # fmt: skip
    made.kept, made.origin, made.core.name = model.kept, model.origin, model.core.name
    return made.train(model.training)


def save_as_loaded(model: MPlus, folder: Path, storage_dtype: torch.dtype | None = None) -> None:
    """Save a model as what it was loaded from: a bundle over the same base, or whole.

    Unless the dtype is given, in 16 bits where that loses nothing, as a bundle that was stored so
    and loaded in 32.

    Args:
        model: from a name or a directory.
        folder: directory, made where it is missing.
        storage_dtype: of the files.

    Raises:
        StorageError: the disk refused.
        BundleError: what it lies over has changed.
    """
    bundled = model.origin is not None and model.origin.bundle is not None
    kept = [*model.weights.parameters(), *model.pristine.tensors().values()]
    kept += [
        weight for name, weight in model.model.named_parameters()
        if not bundled or "lora_" in name
    ]  # fmt: skip
    exact = all(torch.equal(one, one.bfloat16().to(one.dtype)) for one in kept)
    model.save_pretrained(
        folder,
        storage_dtype=storage_dtype or (torch.bfloat16 if exact else None),
        base=REFERENCE if bundled else None,
    )
