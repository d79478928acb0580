"""One pass over a stock model with memory, and the model as it was afterwards.

A session says what happens before and after each layer and inside its attention. ``running``
puts the hooks, the attention name and the adapter in place and takes everything away again, also
after an error. All of it acts only in the thread that runs the session (``backbone.current``):
to every other thread the model is the stock one at any time. Gradient checkpointing replays a
layer in the backward pass, long after the session ended: the replay enters it again.

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

from memplus.backbone.attention import Attended, AttentionCall, implementation_for
from memplus.backbone.current import entered, session_here

if TYPE_CHECKING:
    from memplus.backbone.access import Backbone

__all__ = ["Session", "running"]


class Session:
    """What a pass does at each place of the model. The base class does nothing."""

    def before_decoder(self, arguments: dict[str, Any]) -> None:
        """May change the decoder's keyword arguments (positions)."""

    def after_decoder(self, output: Any) -> Any:
        """Gets and returns the decoder's output object."""
        return output

    def before_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Gets and returns the layer's input [B, T, d]."""
        return hidden

    def after_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Gets and returns the layer's output [B, T, d]."""
        return hidden

    def attend(self, call: AttentionCall) -> Attended:
        """The layer's attention."""
        raise NotImplementedError


@contextlib.contextmanager
def running(backbone: Backbone, session: Session, adapter: str | None) -> Iterator[None]:
    """Run passes of the model under a session.

    One thread at a time on each stock model; other threads that use the stock model meanwhile get
    what it computes without a session. A session inside another's pass replaces it for its time.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(backbone.lock)
        stack.enter_context(_active(backbone, session, adapter))
        stack.enter_context(backbone.rope.unchanged())
        stack.enter_context(_uncompiled(backbone))
        replay = partial(_replay, backbone, session, adapter)
        stack.enter_context(_checkpointing(backbone, session, replay))
        for handle in _hooks(backbone, session):
            stack.callback(handle.remove)
        yield


@contextlib.contextmanager
def _replay(backbone: Backbone, session: Session, adapter: str | None) -> Iterator[None]:
    with backbone.lock, _active(backbone, session, adapter):
        yield


@contextlib.contextmanager
def _active(backbone: Backbone, session: Session, adapter: str | None) -> Iterator[None]:
    """The session, its adapter and our attention function, in this thread."""
    config = backbone.config
    before = config._attn_implementation
    with backbone.adapters.active(adapter), entered(session, config):
        name = implementation_for(backbone.attention_implementation, backbone.stock_attention)
        config._attn_implementation = name
        try:
            yield
        finally:
            config._attn_implementation = before


@contextlib.contextmanager
def _uncompiled(backbone: Backbone) -> Iterator[None]:
    """Modules that the caller has compiled run as they are written: a session cannot be traced.

    Other threads' calls of what is compiled wait for the pass, or they would compile its hooks.
    """
    inner: Iterator[Any] = (m for layer in backbone.layers for m in (layer.module, layer.attention))
    modules = (backbone.model, backbone.decoder, *inner)
    before = [(m, m._compiled_call_impl) for m in modules if m._compiled_call_impl is not None]
    for module, compiled in before:
        module._compiled_call_impl = partial(_called, backbone, module, compiled)
    try:
        yield
    finally:
        for module, compiled in before:
            module._compiled_call_impl = compiled


def _called(
    backbone: Backbone, module: Any, compiled: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    if session_here(backbone.config) is not None:
        return module._call_impl(*args, **kwargs)
    with backbone.lock:
        return compiled(*args, **kwargs)


@contextlib.contextmanager
def _checkpointing(
    backbone: Backbone,
    session: Session,
    replay: Callable[[], contextlib.AbstractContextManager[None]],
) -> Iterator[None]:
    layers: list[Any] = [layer.module for layer in backbone.layers]
    if not any(getattr(layer, "gradient_checkpointing", False) for layer in layers):
        yield
        return
    ours = partial(checkpoint, use_reentrant=False, context_fn=partial(_contexts, replay))
    before = [layer._gradient_checkpointing_func for layer in layers]

    def function(stock: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        running_here = session_here(backbone.config) is session
        return ours(*args, **kwargs) if running_here else stock(*args, **kwargs)

    for layer, previous in zip(layers, before, strict=True):
        layer._gradient_checkpointing_func = partial(function, previous)
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
    config = backbone.config

    def start(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        # A thread that began its call as the hooks were taken away passes no keywords.
        if session_here(config) is not session or kwargs is None:
            return None
        # Some heads pass the ids by position: by name they are easier to find.
        named = dict(kwargs)
        if args:
            named["input_ids"] = args[0]
        session.before_decoder(named)
        return (), named

    def end(module: nn.Module, args: Any, output: Any) -> Any:
        return session.after_decoder(output) if session_here(config) is session else None

    yield backbone.decoder.register_forward_pre_hook(start, with_kwargs=True)
    yield backbone.decoder.register_forward_hook(end)
    for index, layer in enumerate(backbone.layers):
        yield layer.module.register_forward_pre_hook(partial(_before, session, config, index))
        yield layer.module.register_forward_hook(partial(_after, session, config, index))


def _before(
    session: Session, config: Any, index: int, module: nn.Module, args: tuple[Any, ...]
) -> tuple[Any, ...] | None:
    if session_here(config) is not session:
        return None
    return (session.before_layer(index, args[0]), *args[1:])


def _after(
    session: Session, config: Any, index: int, module: nn.Module, args: Any, output: Tensor
) -> Tensor | None:
    if session_here(config) is not session:
        return None
    changed: Tensor = session.after_layer(index, output)
    return changed
