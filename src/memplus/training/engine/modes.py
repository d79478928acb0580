"""A model while it is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from memplus.mplus.model import MPlus

__all__ = ["training_mode"]


@contextlib.contextmanager
def training_mode(model: MPlus, *, plain: bool = False) -> Iterator[None]:
    """Training mode; on a CPU with plain attention, whose gradients are faster than fused ones.

    Args:
        model: is put into it and back.
        plain: plain attention wherever the model is, for the same sums on every device.
    """
    backbone = model.backbone
    before = backbone.attention_implementation
    if plain or model.device.type == "cpu":
        backbone.attention_implementation = "eager"
    model.train()
    try:
        yield
    finally:
        model.eval()
        backbone.attention_implementation = before
