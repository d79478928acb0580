"""How a model is made of another one, and saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.memory.retriever import MemoryWeights
from memplus.mplus.model import MPlus
from memplus.mplus.pretrained import REFERENCE

__all__ = ["lossless", "made_over", "save_as_loaded"]


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

    Unless the dtype is given, in 16 bits where that loses nothing, as a model that was stored so
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
    model.save_pretrained(
        folder,
        storage_dtype=storage_dtype or lossless(kept),
        base=REFERENCE if bundled else None,
    )


def lossless(weights: Sequence[Tensor]) -> torch.dtype | None:
    """The dtype of 16 bits that holds all of these as they are; None: there is none."""
    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(one, one.to(dtype).to(one.dtype)) for one in weights):
            return dtype
    return None
