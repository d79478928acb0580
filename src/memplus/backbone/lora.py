"""A low-rank update of a stock decoder, beside whatever adapters lie in the model.

Nothing of the model is changed: hooks add the update while a pass runs under it, and in the thread
that runs the pass alone. So any number of updates can serve one decoder, the memory's own adapters
among them, and the decoder's fingerprint stays what it was.

Shapes: r rank, i inputs and o outputs of a linear layer.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from memplus.backbone.access import Backbone
from memplus.config import require
from memplus.errors import WeightsError

__all__ = ["Lora", "LoraSizes", "linear_names", "under"]

_DOWN, _UP = "lora_A", "lora_B"


@dataclass(frozen=True)
class LoraSizes:
    """Which linear layers an update changes, and by how much."""

    rank: int = 8
    """Rank r of the update of each layer."""
    alpha: int = 16
    """The update is multiplied by alpha / rank."""
    targets: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip
    """Names of the linear layers."""

    def __post_init__(self) -> None:
        require(self.rank >= 1, "adapter.rank", self.rank, "at least 1")
        require(self.alpha >= 1, "adapter.alpha", self.alpha, "at least 1")
        require(bool(self.targets), "adapter.targets", self.targets, "it names no layer")


class Lora(nn.Module):
    """The update's weights: down [r, i] and up [o, r] of each layer.

    It begins as no update at all: ``up`` is zero, ``down`` is drawn at random.

    Args:
        backbone: the decoder whose layers are meant; it is not kept.
        sizes: rank, scale and names.
        first_layer: of the decoder's layers that are changed; those before it stay as they are.
        generator: draws ``down`` in float32 on its own device, and so the same for every decoder of
            these sizes; None: torch's own, in the decoder's dtype on its device.

    Raises:
        ConfigError: the decoder has no linear layer of one of these names.
    """

    def __init__(
        self,
        backbone: Backbone,
        sizes: LoraSizes,
        first_layer: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        kept = {m for layer in backbone.layers[:first_layer] for m in layer.module.modules()}
        found = _linears(backbone, sizes.targets)
        found = {name: linear for name, linear in found.items() if linear not in kept}
        for target in sizes.targets:
            named = any(name.endswith(f".{target}") for name in found)
            require(named, "adapter.targets", target, "the model has no linear layer of that name")
        self.names = list(found)
        """Of the layers, as the decoder names them without adapters."""
        like: Any = {"device": backbone.device, "dtype": backbone.dtype}
        self.down = nn.ParameterList()
        self.up = nn.ParameterList()
        for linear in found.values():
            drawn: Any = like
            if generator is not None:
                drawn = {"device": generator.device, "dtype": torch.float32}
            down = torch.empty(sizes.rank, linear.in_features, **drawn)
            nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
            self.down.append(nn.Parameter(down.to(**like)))
            self.up.append(nn.Parameter(torch.zeros(linear.out_features, sizes.rank, **like)))

    @property
    def scale(self) -> float:
        """What the update is multiplied by."""
        return self.sizes.alpha / self.sizes.rank

    def tensors(self) -> dict[str, Tensor]:
        """The weights by the decoder's names of their layers, without a graph."""
        named = {f"{n}.{_DOWN}": w for n, w in zip(self.names, self.down, strict=True)}
        named |= {f"{n}.{_UP}": w for n, w in zip(self.names, self.up, strict=True)}
        return {name: weight.detach() for name, weight in sorted(named.items())}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Take weights as ``tensors`` gives them, in place.

        Args:
            tensors: by name, of any dtype.
            where: they come from, for the error.

        Raises:
            WeightsError: some are missing, left over or misshapen.
        """
        own = self.tensors()
        wrong = {
            name: f"expected {list(own[name].shape)}, found {list(tensors[name].shape)}"
            for name in sorted(own.keys() & tensors.keys())
            if own[name].shape != tensors[name].shape
        }
        missing, over = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        if missing or over or wrong:
            raise WeightsError(where, missing=missing, unexpected=over, misshapen=wrong)
        for name, weight in own.items():
            weight.copy_(tensors[name])


def linear_names(backbone: Backbone) -> tuple[str, ...]:
    """Names of all linear layers that a decoder's layers have, those of adapters left out."""
    names = {
        name.removesuffix(".base_layer").rpartition(".")[2]
        for layer in backbone.layers
        for name, module in layer.module.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in name
    }
    return tuple(sorted(names))


def _linears(backbone: Backbone, targets: tuple[str, ...]) -> dict[str, nn.Linear]:
    """Linear layers of these names, those inside adapters' wrappers too, in the decoder's order."""
    return {
        name.removesuffix(".base_layer"): module
        for name, module in backbone.decoder.named_modules()
        if isinstance(module, nn.Linear)
        and name.removesuffix(".base_layer").rpartition(".")[2] in targets
    }


@contextlib.contextmanager
def under(backbone: Backbone, lora: Lora | None) -> Iterator[None]:
    """Run passes of the stock decoder under an update, and under no adapter of the memory.

    To every other thread the model is the stock one meanwhile; one thread at a time. Inside another
    such block of the same thread this one holds alone, until it ends.

    Args:
        backbone: the decoder.
        lora: its update; None: the decoder as it is without any.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(backbone.lock)
        stack.enter_context(backbone.adapters.resting())
        block = stack.enter_context(_inner_block())
        if lora is not None:
            found = _linears(backbone, lora.sizes.targets)
            for name, down, up in zip(lora.names, lora.down, lora.up, strict=True):
                add = partial(_add, _Update(block, down, up, lora.scale))
                stack.callback(found[name].register_forward_hook(add).remove)
        yield


class _Here(threading.local):
    """The innermost block that a thread runs."""

    block: object = None


_HERE = _Here()


@contextlib.contextmanager
def _inner_block() -> Iterator[object]:
    before, block = _HERE.block, object()
    _HERE.block = block
    try:
        yield block
    finally:
        _HERE.block = before


@dataclass(frozen=True)
class _Update:
    """Of one layer, in one block."""

    block: object
    down: Tensor
    up: Tensor
    scale: float


def _add(update: _Update, module: Any, args: Any, output: Tensor) -> Tensor | None:
    """The layer's output with the update's part added."""
    if _HERE.block is not update.block:
        return None
    inner = functional.linear(args[0].to(update.down.dtype), update.down)
    flat = inner.flatten(0, -2)
    base = output.to(flat.dtype).flatten(0, -2)
    added = torch.addmm(base, flat, update.up.t(), alpha=update.scale)
    return added.view(output.shape).to(output.dtype)
