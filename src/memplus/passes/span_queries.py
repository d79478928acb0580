"""What a prompt asks the long-term memory for where spans are retrieved: once, at one layer.

The prompt's own tokens pass the layers below that one by themselves, after bos alone, and the
layer's input asks. Nothing of any memory is read, so that the queries of many prompts, of whatever
memories, are worked out in one batch before the reads begin.

Shapes: B prompts, W tokens of a batch with padding, T own tokens of the longest prompt, d hidden
size, R retriever width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.session import running
from memplus.memory.retriever import MemoryWeights
from memplus.passes.projection import retrieval_queries
from memplus.passes.read import HiddenPrefix, Prefix, ReadSession

__all__ = ["layer_input", "span_queries"]


class _Reached(Exception):
    """Ends a pass at the layer whose input was wanted."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _UpTo(ReadSession):
    """A read that ends where a layer would begin."""

    def __init__(self, backbone: Backbone, prefix: Prefix, layer: int) -> None:
        super().__init__(backbone, prefix)
        self.layer = layer

    def before_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Prepare the layer's prefix.

        Raises:
            _Reached: it is the layer whose input is wanted.
        """
        if layer == self.layer:
            raise _Reached(hidden)
        return super().before_layer(layer, hidden)


def layer_input(backbone: Backbone, weights: MemoryWeights, text: Tensor, layer: int) -> Tensor:
    """The input of a layer for texts that follow bos and nothing else, under the read adapter.

    Keeps the graph where gradients are on. The layers from ``layer`` on do not run.

    Args:
        backbone: the model.
        weights: bos.
        text: [B, T] token ids or [B, T, d] embeddings; what is padding stands at the right.
        layer: which one.

    Returns:
        [B, T, d].
    """
    prefix = Prefix()
    if weights.bos_embedding is not None:
        nothing = weights.bos_embedding.new_empty(
            (len(text), len(backbone.layers), 0, backbone.hidden_size)
        )
        prefix = HiddenPrefix(backbone, weights, nothing)
    session = _UpTo(backbone, prefix, layer)
    name = "input_ids" if text.dim() == 2 else "inputs_embeds"
    try:
        with running(backbone, session, backbone.adapters.reading):
            backbone.decoder(**{name: text}, use_cache=False)
    except _Reached as reached:
        return reached.hidden
    raise AssertionError(f"the decoder has no layer {layer}")


@torch.no_grad()
def span_queries(
    backbone: Backbone, weights: MemoryWeights, text: Tensor, asked: Tensor
) -> list[Tensor]:
    """What each prompt of a batch asks for, as ``passes.span_choice`` takes it.

    Args:
        backbone: the model.
        weights: bos, and the retriever of one layer.
        text: [B, W] token ids or [B, W, d] embeddings.
        asked: [B, W] true for the prompt's own tokens: no tail, no padding. Positions count these
            alone, from 1 on after bos.

    Returns:
        For every prompt [its own tokens, R].
    """
    counts = asked.sum(dim=1)
    longest = int(counts.max())
    # Own tokens first, in their order: what follows them cannot be seen by them.
    order = (~asked).int().argsort(dim=1, stable=True)[:, :longest]
    own = text[torch.arange(len(text), device=text.device)[:, None], order]
    layer = weights.retrieving[0]
    hidden = layer_input(backbone, weights, own, layer)
    queries = retrieval_queries(weights, backbone.layers[layer], hidden)
    return [one[:count] for one, count in zip(queries, counts.tolist(), strict=True)]
