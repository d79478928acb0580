"""The mean of a model and of what it became by going on, weight by weight.

What a stage teaches is not lost in a mean with the stage before, and what the stage cost is mostly
won back: models that went on from the same weights lie in one basin (2109.01903, 2203.05482).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from memplus.errors import ConfigError, UsageError
from memplus.mplus.adapter_folder import base_digest
from memplus.mplus.model import MPlus

__all__ = ["averaged"]

_RULE = "superseding"
"""Not averaged: it is fitted to one model's keys."""


@torch.no_grad()
def averaged(models: Sequence[MPlus]) -> MPlus:
    """The mean of models, weight by weight.

    Args:
        models: at least two, with weights of the same names and shapes over the same base, and
            memory configs that differ in `retrieved_tokens` at most.

    Returns:
        The last of them with the mean in place of its weights. Its config, prompt and rule for
        replaced spans stay; that rule is worth fitting anew.

    Raises:
        UsageError: there are fewer than two.
        ConfigError: a model does not go with the last one.
    """
    if len(models) < 2:
        raise UsageError("A mean is of two models at least.")
    last = models[-1]
    for one in models[:-1]:
        if reason := _differs(one, last):
            raise ConfigError("model", value=one.name, reason=reason)
    others = [dict(_weights(one)) for one in models[:-1]]
    for name, weight in _weights(last):
        every = [*(known[name] for known in others), weight]
        if any(not torch.equal(one, weight) for one in every):
            mean = torch.stack([one.to(weight.device, torch.float32) for one in every]).mean(dim=0)
            weight.copy_(mean)
    return last


def _weights(model: MPlus) -> Iterator[tuple[str, Tensor]]:
    """All that is learned, weights that stand in two places once."""
    yield from model.model.named_parameters()
    for name, weight in model.weights.state_dict().items():
        if name != _RULE:
            yield f"memory.{name}", weight


def _differs(one: MPlus, last: MPlus) -> str:
    """Why a model has no mean with the last one; empty: it has."""
    if one.memory_config.retrieving_as(last.memory_config) != last.memory_config:
        return f"its memory is another than that of {last.name}"
    if _base(one) != _base(last):
        return f"it lies over another base than {last.name}"
    if one.identity["tokenizer"] != last.identity["tokenizer"]:
        return f"it writes texts in other tokens than {last.name}"
    if one.pristine.tensors() or last.pristine.tensors():
        return "new memories begin with rows that it made, and a mean of such means nothing"
    shapes = [{name: part.shape for name, part in _weights(model)} for model in (one, last)]
    if shapes[0] != shapes[1]:
        return f"its weights are others than those of {last.name}"
    return ""


def _base(model: MPlus) -> str | None:
    """The digest of a bundle's base; None where the model is whole."""
    origin = model.origin
    if origin is None or origin.bundle is None:
        return None
    return base_digest(origin, model.core.backbone)
