"""A digest of weights that sees any changed number, at the speed of memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from memplus.config import MemoryConfig

__all__ = ["digest"]


def digest(config: MemoryConfig, tensors: Mapping[str, Tensor]) -> str:
    """Sums over every weight's bits and their order: sees any changed number, at memory speed."""
    found = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
        width = 4 if flat.numel() % 4 == 0 else 1
        words = flat.view(torch.int32) if width == 4 else flat
        order = torch.arange(words.numel(), device=words.device) % 65521 + 1
        sums = (int(words.sum(dtype=torch.int64)), int((words.long() * order).sum()))
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)} {sums}".encode())
    return found.hexdigest()[:32]
