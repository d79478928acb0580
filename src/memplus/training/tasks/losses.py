"""What training makes small, each as one function of tensors.

Shapes: Q questions, t tokens, V vocabulary, R rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "answer_loss",
    "binary_retrieval_loss",
    "exactly_right",
    "recall",
    "retrieval_loss",
    "text_losses",
]

_LEAST = 1e-5
"""Added under logarithms: a score of exactly 0 or 1 has a finite loss."""


def answer_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy of the answers' tokens.

    Args:
        logits: [n, V] where a label is.
        labels: [n].
        weights: [n] of each token.
    """
    losses = functional.cross_entropy(logits.float(), labels, reduction="none")
    return (losses * weights).sum() / weights.sum()


def exactly_right(logits: Tensor, labels: Tensor, ignored: int) -> Tensor:
    """[Q] true where every token of the answer has the highest logit.

    Args:
        logits: [n, V] at the labelled places of ``labels``, in order.
        labels: [Q, t].
        ignored: the label of tokens that are not predicted.
    """
    there = labels != ignored
    right = torch.ones_like(there)
    right[there] = logits.argmax(dim=-1) == labels[there]
    return right.all(dim=1)


def retrieval_loss(scores: Tensor, told: Tensor, temperature: float) -> Tensor:
    """How far right rows stand above all wrong ones together.

    M+ section 3.3 has one row's -log p and another's -log(1 - p). Only the order of scores
    decides what is retrieved, so this compares them: the softmax of a right row among all wrong
    ones, averaged over a question's right rows.

    Args:
        scores: [Q, R] in 0..1.
        told: [Q, R] true at right rows; a question without any has no loss.
        temperature: scores are divided by it.
    """
    scaled = scores / temperature
    wrong = torch.logsumexp(scaled.masked_fill(told, -torch.inf), dim=1, keepdim=True)
    losses = functional.softplus(wrong - scaled) * told
    return (losses.sum(dim=1) / told.sum(dim=1).clamp(min=1)).mean()


def recall(scores: Tensor, told: Tensor, count: int) -> Tensor:
    """[]: share of the right rows that are among the ``count`` best."""
    best = scores.topk(min(count, scores.shape[1]), dim=1).indices
    return (told.gather(1, best).sum(dim=1) / told.sum(dim=1)).mean()


def binary_retrieval_loss(
    scores: Tensor, right: Tensor, negative_weight: float, penalty: float
) -> Tensor:
    """M+ section 3.3: -log p of right rows, -log(1 - p) of wrong ones, each kind averaged.

    Args:
        scores: [Q, R] in 0..1.
        right: [Q, R] true at right rows. A question without right or without wrong rows counts
            as one without loss.
        negative_weight: of wrong rows, where right ones have 1.
        penalty: weight of p(1 - p), which is least at 0 and at 1.
    """
    wrong = ~right
    positive = -(torch.log(scores + _LEAST) * right).sum(dim=1) / right.sum(dim=1).clamp(min=1)
    negative = -(torch.log(1 - scores + _LEAST) * wrong).sum(dim=1) / wrong.sum(dim=1).clamp(min=1)
    weighed = (positive + negative_weight * negative) / (1 + negative_weight)
    asked = right.any(dim=1) & wrong.any(dim=1)
    return ((weighed + penalty * (scores * (1 - scores)).mean(dim=1)) * asked).mean()


def text_losses(logits: Tensor, ids: Tensor, unscored: int = 0) -> Tensor:
    """[B] mean loss of every document's next tokens.

    Args:
        logits: [B, T, V] at the tokens themselves.
        ids: [B, T].
        unscored: first tokens that are not predicted, beside the very first.
    """
    seen = logits[:, unscored:-1].float()
    losses = functional.cross_entropy(
        seen.transpose(1, 2), ids[:, unscored + 1 :], reduction="none"
    )
    return losses.mean(dim=1)
