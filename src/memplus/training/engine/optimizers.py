"""Which weights move, and by which optimizer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from memplus.mplus.model import MPlus
from memplus.training.engine.common_config import OptimizerConfig
from memplus.training.engine.muon import Muon

__all__ = ["choose_trainable", "make_optimizers", "optimizer_tensors", "restore_optimizers"]

_MOMENTUM = 0.95


def choose_trainable(model: MPlus, which: str) -> None:
    """Set which weights have gradients; those that have are kept in float32.

    What was measured of rows, rather than learned, is never trained.

    Args:
        model: is changed.
        which: ``adapters`` (with memory weights and retriever) or ``all``.
    """
    ours = {id(weight) for weight in model.weights.parameters()}
    measured = {id(weight) for weight in model.weights.measured()}
    for name, weight in model.named_parameters():
        trained = which == "all" or "lora_" in name or id(weight) in ours
        trained = trained and id(weight) not in measured
        weight.requires_grad_(trained)
        if trained and weight.dtype != torch.float32:
            weight.data = weight.data.float()


def make_optimizers(
    model: MPlus, config: OptimizerConfig, retriever_rate: float | None
) -> list[Optimizer]:
    """AdamW, or Muon for matrices and AdamW for the rest.

    Args:
        model: its trainable weights are divided into groups.
        config: rates and weight decay.
        retriever_rate: learning rate of f_q and f_k; None trains them like everything else.
    """
    asks: list[nn.Parameter] = []
    if retriever_rate is not None and model.weights.retriever is not None:
        asks = [w for w in model.weights.retriever.parameters() if w.requires_grad]
        asks += [] if model.weights.span_weights is None else [model.weights.span_weights]
    known = {id(weight) for weight in asks}
    embedding = model.backbone.embedding.weight
    matrices: list[Tensor] = []
    vectors: list[Tensor] = []
    for weight in model.parameters():
        if weight.requires_grad and id(weight) not in known:
            is_matrix = weight.ndim == 2 and weight is not embedding
            (matrices if is_matrix else vectors).append(weight)
    rate, decay = config.learning_rate, config.weight_decay
    groups = [{"params": vectors, "lr": rate, "weight_decay": 0.0}]
    made: list[Optimizer] = []
    if config.kind == "muon":
        made.append(Muon(matrices, rate, decay, _MOMENTUM))
    else:
        groups.append({"params": matrices, "lr": rate, "weight_decay": decay})
    groups.append({"params": asks, "lr": retriever_rate, "weight_decay": decay})
    groups = [group for group in groups if group["params"]]
    return [*made, torch.optim.AdamW(groups, lr=rate, betas=config.betas)]


def optimizer_tensors(optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """Everything that the optimizers keep of their weights, whole, by place."""
    return {
        f"{stem}{name}": whole(value).detach().cpu().clone().contiguous()
        for stem, optimizer, weight in _places(optimizers)
        for name, value in optimizer.state[weight].items()
    }


def restore_optimizers(optimizers: list[Optimizer], tensors: dict[str, Tensor]) -> None:
    """Undo ``optimizer_tensors``."""
    for stem, optimizer, weight in _places(optimizers):
        for name, value in tensors.items():
            if name.startswith(stem):
                kind = name.removeprefix(stem)
                optimizer.state[weight][kind] = _beside(value, weight)


def _places(optimizers: list[Optimizer]) -> Iterator[tuple[str, Optimizer, nn.Parameter]]:
    for index, optimizer in enumerate(optimizers):
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for place, weight in enumerate(weights):
            yield f"{index}.{place}.", optimizer, weight


def whole(tensor: Tensor) -> Tensor:
    """A weight with all its parts, wherever they are; every process has to call it."""
    full = getattr(tensor, "full_tensor", None)
    return tensor if full is None else full()


def _beside(value: Tensor, weight: Tensor) -> Tensor:
    """A copy where the weight is, divided as it is."""
    if value.shape != weight.shape:
        return value.clone()  # AdamW's step count stays on the CPU
    value = value.to(weight.device, copy=True)
    if not hasattr(weight, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, weight.device_mesh, weight.placements)  # type: ignore[attr-defined]
