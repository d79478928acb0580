"""How much attention an answer's tokens put on each chunk that was read.

Shapes: B batch, H heads, P retrieved rows.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from memplus.backbone.attention import AttentionCall, Segment
from memplus.systems.latent.mechanism import Share
from memplus.systems.memlong.bank import Bank
from memplus.systems.memlong.gates import Gating, masked, scores
from memplus.systems.memlong.lookup import Found

__all__ = ["Masses"]


class Masses:
    """Softmax mass by chunk, summed over retrieval layers, heads and the last token of each pass.

    The last token of the question is the first one, since the answer's first token comes of it.
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        """[B, P]: of each row of the memory; None before any."""

    @torch.no_grad()
    def take_in(
        self, call: AttentionCall, segment: Segment, found: Found, gating: Gating | None
    ) -> None:
        """Add what one layer's last token puts on each row."""
        last = replace(
            call,
            query=call.query[:, :, -1:],
            mask=None if call.mask is None else call.mask[:, :, -1:],
        )
        memory, text = scores(last, segment)
        share = None if gating is None else gating.share(segment)
        by_scores = gating is not None and gating.on_scores
        if share is not None and by_scores:
            memory, text = memory * share, text * (1 - share)
        memory, text = masked(memory, text, last, segment)
        if share is not None and not by_scores:
            weights = share * memory.softmax(dim=-1)
        else:
            weights = torch.cat([memory, text], dim=-1).softmax(dim=-1)[..., : found.rows]
        added = weights.sum(dim=(1, 2))
        self.sums = added if self.sums is None else self.sums + added

    def shares(self, row: int, found: Found, bank: Bank) -> list[Share]:
        """Each chunk's part of all that went to the memory, most first.

        Args:
            row: of the batch.
            found: what was read.
            bank: it was read from.
        """
        chunks = sorted(found.chunks[row])
        if self.sums is None or not chunks:
            return []
        there = slice(None) if found.there is None else found.there[row]
        owners, sums = found.owners[row][there], self.sums[row][there]
        by_chunk = sums.new_zeros(len(chunks)).index_add_(0, owners, sums)
        parts = (by_chunk / by_chunk.sum().clamp(min=1e-30)).tolist()
        starts = bank.chunks["starts"].tolist()
        made = [
            Share(starts[one], starts[one] + bank.lengths[one], part)
            for one, part in zip(chunks, parts, strict=True)
        ]
        return sorted(made, key=lambda share: -share.share)
