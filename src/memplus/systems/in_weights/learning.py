"""Training an update of the plain base on pieces of text, after which the base is as it was.

AdamW with the published betas, epsilon, weight decay, clipping and cosine; a step is one piece.
Gradients are taken of the update alone, so no weight of the base gets any, and whether a weight
wants them is nobody's business here.

Shapes: T tokens of a piece, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from memplus.backbone.lora import Lora, under
from memplus.errors import ConfigError
from memplus.mplus.core import Core
from memplus.systems.in_weights.options import InWeightsOptions

__all__ = ["learn"]

_BETAS, _EPSILON, _DECAY = (0.9, 0.95), 1e-5, 1e-4
_CLIP = 1.0
"""Largest norm of all gradients together."""


def learn(
    core: Core, lora: Lora, pieces: Sequence[Sequence[int]], options: InWeightsOptions, order: str
) -> None:
    """Train an update on the next tokens of pieces, all of them alike.

    Args:
        core: the model, of which the plain base is read; it stays as it is.
        lora: changed in place.
        pieces: token ids, two at least of each.
        options: epochs and rate.
        order: seeds the order of the pieces, which is another in every epoch.

    Raises:
        ConfigError: the learning rate was too high for finite numbers.
    """
    weights = list(lora.parameters())
    rate, steps = options.learning_rate, options.epochs * len(pieces)
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=_BETAS, eps=_EPSILON, weight_decay=_DECAY)
    for step, place in enumerate(_places(len(pieces), options.epochs, order)):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        gradients = _gradients(core, lora, weights, pieces[place])
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        norm = float(torch.nn.utils.clip_grad_norm_(weights, _CLIP))
        if not math.isfinite(norm):
            raise _too_high(rate, f"step {step + 1} of {steps} has no finite gradient")
        optimizer.step()
    with under(core.backbone, lora), torch.no_grad():
        last = float(_loss(core, pieces[-1]))
    if not math.isfinite(last):
        raise _too_high(rate, f"after {steps} steps the loss is not finite")
    for weight in weights:
        weight.grad = None


def _places(count: int, epochs: int, order: str) -> Iterator[int]:
    for epoch in range(epochs):
        places = list(range(count))
        Random(f"{order}/{epoch}").shuffle(places)
        yield from places


def _gradients(
    core: Core, lora: Lora, weights: Sequence[Tensor], ids: Sequence[int]
) -> tuple[Tensor, ...]:
    """Of the mean loss of a piece's next tokens, by the update's weights."""
    # Backward runs under the update too: a layer that is computed again there needs it.
    with under(core.backbone, lora), torch.enable_grad():
        return torch.autograd.grad(_loss(core, ids), list(weights))


def _loss(core: Core, ids: Sequence[int]) -> Tensor:
    """Mean [] of a piece's next tokens, under what the decoder runs under."""
    given = torch.tensor([list(ids)], device=core.device)
    hidden = core.backbone.decoder(input_ids=given, use_cache=False).last_hidden_state
    logits = core.logits(hidden[0, :-1]).float()
    return functional.cross_entropy(logits, given[0, 1:])


def _too_high(rate: float, reason: str) -> ConfigError:
    return ConfigError("learning_rate", value=rate, reason=f"{reason}; take a lower one")
