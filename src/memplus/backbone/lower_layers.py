"""The first layers of a stock decoder alone: what a text is before most of the model has run.

Shapes: B batch, T tokens, d hidden size.
"""

from __future__ import annotations

from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.layer_states import layer_states

__all__ = ["hidden_after"]


def hidden_after(backbone: Backbone, ids: Tensor, layers: int) -> Tensor:
    """What the first layers make of texts, under no adapter of the memory.

    Args:
        backbone: the decoder.
        ids: [B, T] token ids without padding.
        layers: how many run, at least 1; all where there are no more.

    Returns:
        [B, T, d], before any final norm.
    """
    place = min(layers, len(backbone.layers))
    return layer_states(backbone, ids, (place,)).at[place]
