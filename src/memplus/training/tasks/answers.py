"""What answers to a pass's questions cost, and how many are right to the letter.

Shapes: B documents, Q questions of all of them, t tokens of a question row, n labelled tokens,
V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from memplus.training.engine.workload import Figures
from memplus.training.tasks.asked import IGNORED, Asked, Kind
from memplus.training.tasks.losses import exactly_right

__all__ = ["answer_losses"]

_CONTINUED = 0.3
"""Weight of pieces that are gone on with, beside answers."""


def answer_losses(
    logits: Tensor, asked: Asked, seen: Tensor, documents: int
) -> tuple[Tensor, Figures]:
    """The loss [B] of each document's questions, and figures by kind of question.

    Args:
        logits: [n, V] where the rows have labels, in order.
        asked: the rows.
        seen: [Q] true where what a row asks for is before it, or nowhere; others teach nothing.
        documents: B.
    """
    there = asked.labels != IGNORED
    losses = functional.cross_entropy(logits.float(), asked.labels[there], reduction="none")
    of = there.nonzero()[:, 0]
    continued = asked.kinds == Kind.CONTINUED
    loss = logits.new_zeros((documents,), dtype=torch.float32)
    for rows, weight in ((~continued & seen, 1.0), (continued & seen, _CONTINUED)):
        counted = rows[of].float()
        document = of * documents // len(asked.kinds)
        sums = torch.zeros_like(loss).index_add(0, document, losses * counted)
        counts = torch.zeros_like(loss).index_add(0, document, counted)
        loss = loss + weight * sums / counts.clamp(min=1)
    right = exactly_right(logits.detach(), asked.labels, IGNORED).float()
    told = (asked.kinds == Kind.TOLD) & seen
    earlier = asked.kinds == Kind.EARLIER
    parts = {
        "right": right[told],
        "right.earlier": right[earlier & seen],
        "declined": right[asked.kinds == Kind.UNTOLD],
        "seen": seen[asked.kinds == Kind.TOLD].float(),
        "seen.earlier": seen[earlier].float(),
        "loss.continued": losses.detach()[continued[of] & seen[of]],
        "loss.answers": losses.detach()[(told | (earlier & seen))[of]],
    }
    return loss, {name: part.mean() for name, part in parts.items()}
