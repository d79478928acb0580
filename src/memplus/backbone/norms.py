"""Norms of a stock decoder that are trained apart from it.

The decoder keeps its own. Copies of them carry the trained weights, and hooks put what a copy
computes in the place of what the norm computed, while a pass runs and in its thread alone.

Shapes: d hidden size.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from memplus.backbone.access import Backbone

__all__ = ["Norms"]


class Norms(nn.Module):
    """Copies of the norms of a decoder's upper layers and of its last one.

    They begin with the decoder's own weights.

    Args:
        backbone: the decoder; it is not kept.
        first_layer: the first one whose norms are copied.
    """

    def __init__(self, backbone: Backbone, first_layer: int) -> None:
        super().__init__()
        found = _norms(backbone, first_layer)
        self.names = list(found)
        """Of the norms, as the decoder names them."""
        self.copies = nn.ModuleList(_copied(norm) for norm in found.values())

    @contextlib.contextmanager
    def standing_in(self, backbone: Backbone) -> Iterator[None]:
        """Run passes of the decoder with these norms instead of its own.

        One thread at a time; to every other thread the model is the stock one meanwhile.

        Args:
            backbone: the decoder.
        """
        thread = threading.get_ident()
        modules = dict(backbone.decoder.named_modules())
        with contextlib.ExitStack() as stack:
            stack.enter_context(backbone.lock)
            for name, own in zip(self.names, self.copies, strict=True):
                instead = partial(_instead, thread, own)
                stack.callback(modules[name].register_forward_hook(instead).remove)
            yield


def _instead(thread: int, own: nn.Module, module: Any, args: Any, output: Any) -> Tensor | None:
    if threading.get_ident() != thread:
        return None
    weight = next(own.parameters(), output)
    normed: Tensor = own(args[0].to(weight.dtype))
    return normed.to(output.dtype)


def _norms(backbone: Backbone, first_layer: int) -> dict[str, nn.Module]:
    """Norms of layers from the first one on, and those outside of the layers, by their names."""
    lower = {m for layer in backbone.layers[:first_layer] for m in layer.module.modules()}
    return {
        name: module
        for name, module in backbone.decoder.named_modules()
        if type(module).__name__.endswith("Norm") and module not in lower
    }


def _copied(norm: nn.Module) -> nn.Module:
    """With weights of its own, and without whatever hooks a pass in another thread left there."""
    own = copy.copy(norm)
    own.__dict__ = {**norm.__dict__}
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        own.__dict__[name] = OrderedDict()
    weights = norm.named_parameters(recurse=False)
    own._parameters = {name: nn.Parameter(weight.detach().clone()) for name, weight in weights}
    return own
