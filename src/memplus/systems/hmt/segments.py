"""The steps that HMT takes for one segment (2405.06067, section 3), and the weights of its own.

A segment is read behind a vector that stands for what was before: M0 while nothing was, then the
mean of the cached vectors, weighted by a summary of the segment's beginning. The decoder's last
output at a slot behind the segment is the vector that is kept of it.

Shapes: B rows, T tokens of a segment, at most L, n cached vectors, d hidden size.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from memplus.backbone.access import Backbone
from memplus.backbone.lora import Lora, LoraSizes, linear_names, under
from memplus.systems.hmt.options import HMTOptions
from memplus.systems.hmt.padded import Padded, spans
from memplus.systems.hmt.passes import Slots, next_token, run
from memplus.systems.hmt.retrieval import Retrieval
from memplus.systems.hmt.state import HMTState

__all__ = ["Segments"]


class Segments(nn.Module):
    """Trained parts, and the decoder's passes with them.

    The parts are drawn by torch's own generator, the two vectors as wide as the embedding table.

    Args:
        backbone: the stock decoder, which is no part of it.
        options: sizes and ablations.
    """

    def __init__(self, backbone: Backbone, options: HMTOptions) -> None:
        super().__init__()
        self._decoder = (backbone,)
        self.options = options
        width = backbone.hidden_size
        spread = float(backbone.embedding.weight.detach().float().std())
        self.initial = nn.Parameter(torch.randn(width) * spread)
        """[d], M0: what a segment is read behind while nothing was written."""
        self.summary_prompt = nn.Parameter(torch.randn(width) * spread)
        """[d], T: stands before and behind a segment's beginning where its summary is wanted."""
        bfloat16 = options.published == "bfloat16"
        self.retrieval = Retrieval(width, options.retrieval_dim, bfloat16=bfloat16)
        self.to(backbone.device)
        self.lora = _update(backbone, options)
        """Under it the decoder makes its passes."""
        if options.retrieval == "off":
            for idle in (self.summary_prompt, *self.retrieval.parameters()):
                idle.requires_grad = False

    @property
    def backbone(self) -> Backbone:
        """The stock decoder."""
        return self._decoder[0]

    def active(self) -> AbstractContextManager[None]:
        """The update is in place, for this thread: all that follows has to stand under it."""
        return under(self.backbone, self.lora)

    def empty(self, rows: int) -> HMTState:
        """The state before anything was written."""
        like = self.backbone
        cache = torch.zeros(rows, 0, like.hidden_size, dtype=like.dtype, device=like.device)
        sensory = torch.zeros(rows, 0, dtype=torch.int64, device=like.device)
        return HMTState(cache, sensory, (0,))

    def summary(self, text: Padded) -> Tensor:
        """[B, d] of texts: the decoder's output at a prompt behind them."""
        prompt = self.summary_prompt.expand(len(text.ids), -1)
        hidden: Tensor = self.run(Slots(prompt, text)).last_hidden_state
        return hidden[:, -1]

    def beginning(self, text: Padded) -> Padded:
        """What of a segment is summed up: its first tokens."""
        count = self.options.summary_tokens
        return text.columns(count) if self._counts_padding else text.first(count)

    def question(self, state: HMTState, text: Padded, about: Tensor) -> Padded:
        """What is summed up where some tokens of a text ask, and others are still to be predicted.

        Args:
            state: before it.
            text: B rows.
            about: [B, 2] see ``Mechanism.read_about``.

        Returns:
            The beginning, up to the question's end, or the question; where that is empty the
            sensory tokens.
        """
        start, end = about.unbind(dim=1)
        count, asks = self.options.summary_tokens, end > start
        if self.options.summary_of == "question":
            start = torch.maximum(start, end - count)
        else:
            start = torch.zeros_like(start) if text.pad is None else text.pad
            end = torch.minimum(end, start + count)
        # What was before stands in front of the rows, at the same columns of each.
        ids, before = torch.cat([state.sensory, text.ids], dim=1), state.sensory.shape[1]
        start = torch.where(asks, start + before, 0)
        return spans(ids, start, torch.where(asks, end + before, before))

    def retrieved(self, state: HMTState, summed: Padded) -> tuple[Tensor, Tensor | None]:
        """What a segment is read behind.

        Args:
            state: before it.
            summed: B rows, which are summed up where that decides anything.

        Returns:
            [B, d] the vector, and [B, n] the weights of the cached ones; None: no retrieval.
        """
        count = state.cache.shape[1]
        if not count:
            return self.initial.expand(len(summed.ids), -1), None
        if self.options.retrieval == "off":
            return state.cache[:, -1], None
        # Of one vector the mean is that vector, whatever asks for it.
        summary = self.summary(summed) if count > 1 else state.cache[:, 0]
        vector, weights = self.retrieval(summary, state.cache)
        return vector, weights

    def read(self, state: HMTState, text: Padded, summed: Padded) -> Tensor:
        """[B, T, d] after the final norm, without the slot behind the text."""
        vector, _ = self.retrieved(state, summed)
        slots = Slots(vector, text, sensory=state.sensory, trailing=False)
        hidden: Tensor = self.run(slots).last_hidden_state
        return hidden[:, slots.ahead :]

    def read_and_write(self, state: HMTState, text: Padded) -> tuple[Tensor, HMTState]:
        """[B, T, d] after the final norm, and the state behind the segment."""
        vector, _ = self.retrieved(state, self.beginning(text))
        slots = Slots(vector, text, sensory=state.sensory)
        hidden: Tensor = self.run(slots).last_hidden_state
        length = text.ids.shape[1]
        followed = state.followed(
            hidden[:, -1],
            text.ids[:, max(0, length - self.options.sensory_tokens) :],
            tokens=length,
            kept=self.options.kept,
        )
        return hidden[:, slots.ahead : -1], followed

    def run(self, slots: Slots, **options: Any) -> Any:
        """A pass over a segment; see ``passes.run``."""
        return run(self.backbone, slots, counts_padding=self._counts_padding, **options)

    def run_next(self, tokens: Tensor, visible: Tensor | None, past: Any) -> Tensor:
        """A pass over one more token; see ``passes.next_token``."""
        counts = self._counts_padding
        return next_token(self.backbone, tokens, visible, past, counts_padding=counts)

    @property
    def _counts_padding(self) -> bool:
        return self.options.published == "padding"


def _update(backbone: Backbone, options: HMTOptions) -> Lora | None:
    """Of all linear layers that a decoder's layers have, the memory's own adapters left out."""
    if not options.rank:
        return None
    return Lora(backbone, LoraSizes(options.rank, options.alpha, linear_names(backbone)))
