"""What prompts ask the long-term memory for where spans are retrieved, piece by piece.

As ``passes.span_queries``, which reads whole prompts: their own tokens pass the lower layers after
bos alone. Here a pass takes pieces of several prompts, so that a long one is no hindrance.

Shapes: t tokens of a piece, L layers, d hidden size, R retriever width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.session import running
from memplus.memory.retriever import MemoryWeights
from memplus.passes.joint import JointSession, OpenRead, ReadPiece
from memplus.passes.projection import retrieval_queries
from memplus.passes.read import HiddenPrefix, Prefix

__all__ = ["piece_queries", "question_read"]


class _Reached(Exception):
    """Ends a pass at the layer whose input was wanted."""


class _UpTo(JointSession):
    """A pass that ends where a layer would begin."""

    def __init__(self, backbone: Backbone, pieces: Sequence[ReadPiece], layer: int) -> None:
        super().__init__(backbone, pieces)
        self.layer = layer
        self.hidden: Tensor | None = None

    def before_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Prepare the layer's prefix.

        Raises:
            _Reached: it is the layer whose input is wanted.
        """
        if layer == self.layer:
            self.hidden = hidden
            raise _Reached
        return super().before_layer(layer, hidden)


def question_read(backbone: Backbone, weights: MemoryWeights, tokens: Sequence[int]) -> OpenRead:
    """A read of what of a prompt asks, after bos and nothing else."""
    prefix = Prefix()
    if weights.bos_embedding is not None:
        shape = 1, len(backbone.layers), 0, backbone.hidden_size
        prefix = HiddenPrefix(backbone, weights, weights.bos_embedding.new_empty(shape))
    return OpenRead(prefix, tokens)


@torch.no_grad()
def piece_queries(
    backbone: Backbone, weights: MemoryWeights, pieces: Sequence[ReadPiece]
) -> list[Tensor]:
    """Read the next pieces of several questions.

    Args:
        backbone: the model.
        weights: the retriever of one layer.
        pieces: of ``question_read``, one of each.

    Returns:
        For every piece [t, R] f_q of its tokens.
    """
    layer = weights.retrieving[0]
    session = _UpTo(backbone, pieces, layer)
    try:
        with running(backbone, session, backbone.adapters.reading):
            backbone.decoder(**session.arguments())
    except _Reached:
        pass
    assert session.hidden is not None
    queries = retrieval_queries(weights, backbone.layers[layer], session.hidden)[0]
    for piece in pieces:
        piece.read.advance(len(piece.ids))
    return [queries[place] for place in session.places]
