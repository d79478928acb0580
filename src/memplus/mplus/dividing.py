"""Over how many threads a model's products are worth dividing.

Dividing has a price for every product: the threads meet at its end. Where other programs want the
same cores, the one that is kept waiting keeps all of them waiting, and a small model, whose
products take microseconds, comes to spend nearly all of its time on that.
"""

from __future__ import annotations

import os

import torch
from torch import nn

__all__ = ["threads_for"]

_SMALL = 10_000_000
"""Weights: eight times those of the nano, a thirteenth of smollm2's."""


def threads_for(model: nn.Module) -> int:
    """As many threads as torch would take, for a small model one.

    Where ``OMP_NUM_THREADS`` is set, somebody has decided, and that count holds for small ones too.
    """
    small = sum(weight.numel() for weight in model.parameters()) < _SMALL
    return 1 if small and "OMP_NUM_THREADS" not in os.environ else torch.get_num_threads()
