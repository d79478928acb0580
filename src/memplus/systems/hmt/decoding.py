"""Texts that HMT goes on with token by token, with the decoder's keys and values kept.

Shapes: B rows, n cached vectors, d hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from memplus.systems.hmt.padded import Padded
from memplus.systems.hmt.passes import Slots
from memplus.systems.hmt.segments import Segments
from memplus.systems.hmt.state import HMTState
from memplus.systems.latent.mechanism import Share

__all__ = ["HMTDecoding"]


class HMTDecoding:
    """See ``Decoding``. What a text is read behind is retrieved once and stays while it grows.

    Args:
        segments: the mechanism's steps.
        state: stays as it is.
        text: B rows.
        summed: B rows, what is summed up to retrieve.
    """

    @torch.no_grad()
    def __init__(self, segments: Segments, state: HMTState, text: Padded, summed: Padded) -> None:
        self._segments = segments
        self._bounds = state.bounds
        with segments.active():
            vector, self._weights = segments.retrieved(state, summed)
            slots = Slots(vector, text, sensory=state.sensory, trailing=False)
            output = segments.run(slots, use_cache=True)
        self._visible = slots.visible
        self._past: Any = output.past_key_values
        self.hidden: Tensor = output.last_hidden_state[:, -1]
        """See ``Decoding.hidden``."""

    @torch.no_grad()
    def step(self, tokens: Tensor) -> None:
        """See ``Decoding.step``."""
        if self._visible is not None:
            here = self._visible.new_ones(len(tokens), 1)
            self._visible = torch.cat([self._visible, here], dim=1)
        with self._segments.active():
            self.hidden = self._segments.run_next(tokens, self._visible, self._past)

    @property
    def shares(self) -> Sequence[Sequence[Share]] | None:
        """See ``Decoding.shares``: the weights of the retrieved vectors; None without retrieval."""
        if self._segments.options.retrieval == "off":
            return None
        if self._weights is None:
            return [[] for _ in self.hidden]
        spans = list(zip(self._bounds, self._bounds[1:], strict=False))
        found = []
        for row in self._weights.tolist():
            shares = [Share(*span, share=one) for span, one in zip(spans, row, strict=True)]
            found.append(sorted(shares, key=lambda share: share.share, reverse=True))
        return found
