"""A trained number of each head that weighs the memory against the text.

The paper's second stage has none. The published code multiplies scores by it, so that at its
beginning it halves all of them; on outputs it is LongMem's gate (2306.07174, equation 5), which is
ours here.

Shapes: B batch, T tokens, S text keys, P retrieved rows, H heads, G key/value heads, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.backbone.attention import AttentionCall, Segment

__all__ = ["Gating", "text_bias"]


def text_bias(call: AttentionCall) -> Tensor | None:
    """[B or 1, 1, T, S] float32 added to the scores of the text; None adds nothing."""
    mask = call.mask
    if mask is None or mask.dtype != torch.bool:
        return None if mask is None else mask.float()
    bias = torch.zeros(mask.shape, device=mask.device)
    return bias.masked_fill(~mask, torch.finfo(torch.float32).min)


@dataclass(frozen=True)
class Gating:
    """The gate of one layer."""

    weight: Tensor
    """[H] before the sigmoid."""
    on_scores: bool
    """What it multiplies: scores, or outputs."""

    def share(self, segment: Segment) -> Tensor:
        """[B or 1, H, 1, 1] what the memory is multiplied by; the text is by the rest.

        A row of the batch that has no rows of the memory is the text's alone.

        Args:
            segment: the rows; those that are there have no bias.
        """
        share = torch.sigmoid(self.weight.float())[None, :, None, None]
        if segment.bias is None:
            return share
        return share * (segment.bias == 0).any(dim=1)[:, None, None, None]

    def attend(self, call: AttentionCall, segment: Segment) -> Tensor:
        """[B, T, H, D] from rows and text, in plain products and with a graph.

        Args:
            call: the layer's call.
            segment: the rows.
        """
        times = call.query.shape[1] // call.key.shape[1]
        memory, text = scores(call, segment)
        values = [
            one.repeat_interleave(times, dim=1).float() for one in (segment.value, call.value)
        ]
        share = self.share(segment)
        if self.on_scores:
            memory, text = masked(memory * share, text * (1 - share), call, segment)
            weights = torch.cat([memory, text], dim=-1).softmax(dim=-1)
            output = weights @ torch.cat(values, dim=2)
        else:
            memory, text = masked(memory, text, call, segment)
            output = share * (memory.softmax(dim=-1) @ values[0])
            output = output + (1 - share) * (text.softmax(dim=-1) @ values[1])
        return output.to(call.query.dtype).transpose(1, 2).contiguous()


def scores(call: AttentionCall, segment: Segment) -> tuple[Tensor, Tensor]:
    """Scores of the rows [B, H, T, P] and of the text [B, H, T, S], float32, nothing hidden."""
    times = call.query.shape[1] // call.key.shape[1]
    query = call.query.float() * call.scale
    keys = [one.repeat_interleave(times, dim=1).float() for one in (segment.key, call.key)]
    return query @ keys[0].transpose(2, 3), query @ keys[1].transpose(2, 3)


def masked(
    memory: Tensor, text: Tensor, call: AttentionCall, segment: Segment
) -> tuple[Tensor, Tensor]:
    """The scores with what is not there, or not yet, hidden."""
    if segment.bias is not None:
        memory = memory + segment.bias[:, None, None]
    bias = text_bias(call)
    return memory, text if bias is None else text + bias
