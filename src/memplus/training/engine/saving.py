"""How a model that was made of others is saved."""

from __future__ import annotations

from pathlib import Path

import torch

from memplus.mplus.model import MPlus
from memplus.mplus.pretrained import REFERENCE

__all__ = ["save_as_loaded"]


def save_as_loaded(model: MPlus, folder: Path) -> None:
    """Save a model as what it was loaded from: a bundle over the same base, or whole.

    In 16 bits where that loses nothing, as a bundle that was stored so and loaded in 32.

    Args:
        model: from a name or a directory.
        folder: directory, made where it is missing.

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
        storage_dtype=torch.bfloat16 if exact else None,
        base=REFERENCE if bundled else None,
    )
