"""One pass over a stock model with memory, and the model as it was afterwards.

A session says what happens before and after each layer and inside its attention. ``running``
puts the hooks, the attention name and the adapter in place and takes everything away again, also
after an error. Gradient checkpointing replays a layer in the backward pass, long after the
session ended: the replay enters it again.

Shapes: B batch, T tokens, d hidden size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from memplus.backbone.attention import SESSION_ATTRIBUTE, AttentionCall, implementation_for

if TYPE_CHECKING:
    from memplus.backbone.access import Backbone

__all__ = ["Session", "running"]


class Session:
    """What a pass does at each place of the model. The base class does nothing."""

    def before_decoder(self, arguments: dict[str, Any]) -> None:
        """May change the decoder's keyword arguments (positions)."""

    def before_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Gets and returns the layer's input [B, T, d]."""
        return hidden

    def after_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Gets and returns the layer's output [B, T, d]."""
        return hidden

    def attend(self, call: AttentionCall) -> Tensor:
        """The layer's attention, [B, T, H, D]."""
        raise NotImplementedError


@contextlib.contextmanager
def running(backbone: Backbone, session: Session, adapter: str | None) -> Iterator[None]:
    """Run passes of the model under a session; one at a time on each model."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(backbone.lock)
        stack.enter_context(backbone.adapters.active(adapter))
        stack.enter_context(_attention_of(backbone, session))
        stack.enter_context(backbone.rope.unchanged())
        replay = partial(_replay, backbone, session, adapter)
        stack.enter_context(_checkpointing(backbone, replay))
        for handle in _hooks(backbone, session):
            stack.callback(handle.remove)
        yield


@contextlib.contextmanager
def _replay(backbone: Backbone, session: Session, adapter: str | None) -> Iterator[None]:
    with backbone.lock, backbone.adapters.active(adapter), _attention_of(backbone, session):
        yield


@contextlib.contextmanager
def _attention_of(backbone: Backbone, session: Session) -> Iterator[None]:
    config = backbone.config
    before = config._attn_implementation
    sessions = [getattr(layer.attention, SESSION_ATTRIBUTE, None) for layer in backbone.layers]
    config._attn_implementation = implementation_for(backbone.attention_implementation)
    for layer in backbone.layers:
        setattr(layer.attention, SESSION_ATTRIBUTE, session)
    try:
        yield
    finally:
        config._attn_implementation = before
        for layer, previous in zip(backbone.layers, sessions, strict=True):
            if previous is None:
                delattr(layer.attention, SESSION_ATTRIBUTE)
            else:
                setattr(layer.attention, SESSION_ATTRIBUTE, previous)


@contextlib.contextmanager
def _checkpointing(
    backbone: Backbone, replay: Callable[[], contextlib.AbstractContextManager[None]]
) -> Iterator[None]:
    layers: list[Any] = [layer.module for layer in backbone.layers]
    if not any(getattr(layer, "gradient_checkpointing", False) for layer in layers):
        yield
        return
    context = partial(_contexts, replay)
    function = partial(checkpoint, use_reentrant=False, context_fn=context)
    before = [layer._gradient_checkpointing_func for layer in layers]
    for layer in layers:
        layer._gradient_checkpointing_func = function
    try:
        yield
    finally:
        for layer, previous in zip(layers, before, strict=True):
            layer._gradient_checkpointing_func = previous


def _contexts(
    replay: Callable[[], contextlib.AbstractContextManager[None]],
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    return contextlib.nullcontext(), replay()


def _hooks(backbone: Backbone, session: Session) -> Iterator[RemovableHandle]:
    def start(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # Some heads pass the ids by position: by name they are easier to find.
        named = dict(kwargs)
        if args:
            named["input_ids"] = args[0]
        session.before_decoder(named)
        return (), named

    yield backbone.decoder.register_forward_pre_hook(start, with_kwargs=True)
    for index, layer in enumerate(backbone.layers):
        yield layer.module.register_forward_pre_hook(partial(_before, session, index))
        yield layer.module.register_forward_hook(partial(_after, session, index))


def _before(
    session: Session, index: int, module: nn.Module, args: tuple[Any, ...]
) -> tuple[Any, ...]:
    return (session.before_layer(index, args[0]), *args[1:])


def _after(session: Session, index: int, module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return session.after_layer(index, output)
