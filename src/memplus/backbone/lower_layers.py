"""The first layers of a stock decoder alone: what a text is before most of the model has run.

Shapes: B batch, T tokens, d hidden size.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.lora import under

__all__ = ["hidden_after"]


class _Reached(Exception):
    """Ends a pass behind the layer whose output was wanted."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


@torch.no_grad()
def hidden_after(backbone: Backbone, ids: Tensor, layers: int) -> Tensor:
    """What the first layers make of texts, under no adapter of the memory.

    Args:
        backbone: the decoder.
        ids: [B, T] token ids without padding.
        layers: how many run, at least 1; all where there are no more.

    Returns:
        [B, T, d], before any final norm.
    """
    thread = threading.get_ident()

    def reached(module: Any, args: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            raise _Reached(output[0] if isinstance(output, tuple) else output)

    last = backbone.layers[min(layers, len(backbone.layers)) - 1].module
    try:
        with under(backbone, None):
            handle = last.register_forward_hook(reached)
            try:
                backbone.decoder(input_ids=ids, use_cache=False)
            finally:
                handle.remove()
    except _Reached as found:
        return found.hidden
    raise AssertionError("a decoder runs all its layers")
