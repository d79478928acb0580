"""What stands between the layers of a stock decoder in one pass, at any number of places.

Place l is the output of the first l layers: 0 the embedded text, the number of layers the last
layer's output, before any final norm.

Shapes: B batch, T tokens, S tokens with those in the cache, d hidden size.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from memplus.backbone.access import Backbone
from memplus.backbone.lora import under

__all__ = ["LayerStates", "Text", "layer_states", "new_cache", "text_of"]


@dataclass(frozen=True)
class Text:
    """Tokens as a decoder takes them: where they stand, and what of them is padding."""

    mask: Tensor | None
    """[B, S] 1 for tokens, 0 for padding, those in the cache included; None: no padding."""
    positions: Tensor | None
    """[B, T]; None: those that follow from the cache."""

    def arguments(self, cache: DynamicCache | None) -> dict[str, Any]:
        """The decoder's keyword arguments, its input apart."""
        return {
            "attention_mask": self.mask,
            "position_ids": self.positions,
            "past_key_values": cache,
            "use_cache": cache is not None,
        }


def text_of(length: int, pad: Tensor | None, before: int = 0) -> Text:
    """How tokens stand that follow others.

    Args:
        length: T.
        pad: [B], how many at the left of each row are padding; None: there is none.
        before: tokens in the cache, padding included.
    """
    if pad is None or not bool(pad.any()):
        return Text(None, None)
    places = torch.arange(before + length, device=pad.device)
    there = places >= pad[:, None]
    positions = (places - pad[:, None]).clamp(min=0)
    return Text(there.long(), positions[:, before:])


def new_cache(config: Any) -> DynamicCache:
    """An empty one, for a text that a decoder of this config reads in parts."""
    return DynamicCache(config=config)


@dataclass(frozen=True)
class LayerStates:
    """Of one pass."""

    at: dict[int, Tensor]
    """Place -> [B, T, d]."""
    final: Tensor | None
    """[B, T, d] after the final norm; None where the pass ended before it."""


class _Reached(Exception):
    """Ends a pass behind the last place that was wanted."""


@torch.no_grad()
def layer_states(
    backbone: Backbone,
    ids: Tensor,
    places: Collection[int],
    *,
    whole: bool = False,
    text: Text | None = None,
    cache: DynamicCache | None = None,
) -> LayerStates:
    """Read texts, under no adapter of the memory, and keep what stands at some places.

    Args:
        backbone: the decoder.
        ids: [B, T] token ids.
        places: 0 to the number of layers, at least one.
        whole: run to the final norm. If not, the pass ends at the last place.
        text: how the tokens stand; None: without padding, at positions 0, 1, ...
        cache: keys and values of the tokens before these, which gets those of these; with it
            the pass must be whole.
    """
    found: dict[int, Tensor] = {}
    last = None if whole else max(places)
    arguments = (text or Text(None, None)).arguments(cache)
    final = None
    with ExitStack() as stack:
        stack.enter_context(under(backbone, None))
        stack.enter_context(backbone.rope.unchanged())
        stack.enter_context(_hooks(backbone, frozenset(places), found, last))
        with suppress(_Reached):
            final = backbone.decoder(input_ids=ids, **arguments).last_hidden_state
    return LayerStates(found, final)


@contextmanager
def _hooks(
    backbone: Backbone, places: frozenset[int], found: dict[int, Tensor], last: int | None
) -> Iterator[None]:
    """Keep what passes the places while the block lasts, in this thread alone."""
    thread = threading.get_ident()

    def reached(place: int, hidden: Tensor) -> None:
        if threading.get_ident() != thread or place not in places:
            return
        found[place] = hidden
        if place == last:
            raise _Reached

    def first(module: Any, args: Any) -> None:
        reached(0, args[0])

    def behind(place: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            reached(place, output[0] if isinstance(output, tuple) else output)

        return hook

    with ExitStack() as stack:
        stack.callback(backbone.layers[0].module.register_forward_pre_hook(first).remove)
        for place, layer in enumerate(backbone.layers, start=1):
            if place in places:
                stack.callback(layer.module.register_forward_hook(behind(place)).remove)
        yield
