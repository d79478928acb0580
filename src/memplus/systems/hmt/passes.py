"""The decoder's passes over a segment with a vector before it, and behind it where one is wanted.

Slots of a pass: [vector ; sensory tokens ; padding and text ; vector]. Positions count from 0 in
every pass; the vectors and the sensory tokens take positions, padding takes none.

Shapes: B rows, T tokens, s sensory tokens, S slots, d hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.systems.hmt.padded import Padded

__all__ = ["Slots", "next_token", "run"]


@dataclass(frozen=True)
class Slots:
    """What one pass reads."""

    vector: Tensor
    """[B, d] stands before the text, and behind it."""
    text: Padded
    """The text itself."""
    sensory: Tensor | None = None
    """[B, s] ids before the text; None: none."""
    trailing: bool = True
    """Whether the vector stands behind the text too. No other slot can see it there."""

    @property
    def ahead(self) -> int:
        """Slots before the text."""
        return 1 if self.sensory is None else 1 + self.sensory.shape[1]

    def embedded(self, backbone: Backbone) -> Tensor:
        """[B, S, d] the decoder's inputs."""
        ids = self.text.ids
        if self.sensory is not None:
            ids = torch.cat([self.sensory, ids], dim=1)
        tokens: Tensor = backbone.embedding(ids)
        vector = self.vector.to(tokens.dtype)[:, None]
        return torch.cat([vector, tokens, *([vector] if self.trailing else [])], dim=1)

    @property
    def visible(self) -> Tensor | None:
        """[B, S], true where no padding is; None: everywhere."""
        text = self.text.visible
        if text is None:
            return None
        rows = text.shape[0]
        ahead, behind = text.new_ones(rows, self.ahead), text.new_ones(rows, int(self.trailing))
        return torch.cat([ahead, text, behind], dim=1)


def run(backbone: Backbone, slots: Slots, *, counts_padding: bool = False, **options: Any) -> Any:
    """A pass of the decoder, under whatever adapter is active.

    Args:
        backbone: the decoder.
        slots: what it reads.
        counts_padding: padding takes positions, as in the published code.
        options: further arguments of the decoder.

    Returns:
        The decoder's output; ``last_hidden_state`` is [B, S, d] after the final norm.
    """
    arguments = {"use_cache": False} | options
    visible = slots.visible
    if visible is not None:
        arguments["attention_mask"] = visible.long()
        if not counts_padding:
            arguments["position_ids"] = visible.long().cumsum(dim=1) - 1
    return backbone.decoder(inputs_embeds=slots.embedded(backbone), **arguments)


def next_token(
    backbone: Backbone,
    tokens: Tensor,
    visible: Tensor | None,
    past: Any,
    *,
    counts_padding: bool = False,
) -> Tensor:
    """A pass over one token behind a text whose keys and values are kept.

    Args:
        backbone: the decoder.
        tokens: [B] ids.
        visible: [B, S], where padding is none in all slots, this one's included; None: everywhere.
        past: the decoder's cache, which grows.
        counts_padding: see ``run``.

    Returns:
        [B, d] after the final norm.
    """
    arguments: dict[str, Any] = {"past_key_values": past, "use_cache": True}
    if visible is not None:
        arguments["attention_mask"] = visible.long()
        if not counts_padding:
            arguments["position_ids"] = visible.long().sum(dim=1, keepdim=True) - 1
    output = backbone.decoder(inputs_embeds=backbone.embedding(tokens[:, None]), **arguments)
    hidden: Tensor = output.last_hidden_state[:, -1]
    return hidden
