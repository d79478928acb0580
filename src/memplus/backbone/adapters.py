"""Two LoRA adapters on stock linear layers, switched without touching what is trainable.

peft's own ``set_adapter`` clears requires_grad on the other adapter, and every gradient of a
write becomes None; so the switch here names the active adapter and leaves the flags alone. Only
the thread that switches sees it: for all others the caller's adapter stays active.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from memplus.backbone.current import ByThread
from memplus.config import AdapterConfig

__all__ = ["READ_ADAPTER", "WRITE_ADAPTER", "AdapterState", "Adapters", "add_adapters"]

WRITE_ADAPTER = "default"
READ_ADAPTER = "decoder_adapter"
_NO_ADAPTER = ""
"""Stands for none of ours in the place of a name."""


@dataclass(frozen=True)
class AdapterState:
    """Which adapters of a model act on its results, layer by layer."""

    active: tuple[tuple[str, ...], ...]
    """Empty where passes choose the adapter themselves."""
    merged: tuple[tuple[str, ...], ...]
    disabled: tuple[bool, ...]
    first: tuple[str, ...]
    """The adapter that each layer got first."""

    @property
    def unusual(self) -> tuple[str, ...]:
        """What tells the state from that of a model just made; empty where nothing does."""
        lines: list[str] = []
        if any(active != (first,) for active, first in zip(self.active, self.first, strict=False)):
            lines.append(f"active {self.active}")
        if any(self.merged):
            lines.append(f"merged {self.merged}")
        if any(self.disabled):
            lines.append(f"disabled {self.disabled}")
        return tuple(lines)

    def differs(self, other: AdapterState) -> list[str]:
        """Names of what differs."""
        return [
            *(["active adapter"] if self.active != other.active else []),
            *(["merged adapters"] if self.merged != other.merged else []),
            *(["disabled adapters"] if self.disabled != other.disabled else []),
        ]


class Adapters:
    """The adapters of one model: none, ``default`` alone, or both.

    Args:
        model: the stock model.
        ours: whether adapters of these names belong to the memory; if not, passes run under
            whatever the caller has made active.
    """

    def __init__(self, model: nn.Module, *, ours: bool = True) -> None:
        self._model = model
        self._layers: list[Any] = [
            module for module in model.modules() if isinstance(module, LoraLayer)
        ]
        self._names = {name for layer in self._layers for name in layer.lora_A if ours}
        self._bypassing: int | None = None

    @property
    def writing(self) -> str | None:
        """The adapter of write passes."""
        return WRITE_ADAPTER if WRITE_ADAPTER in self._names else None

    @property
    def reading(self) -> str | None:
        """The adapter of read passes."""
        if self._names and self._bypassing == threading.get_ident():
            return _NO_ADAPTER
        return READ_ADAPTER if READ_ADAPTER in self._names else self.writing

    @contextlib.contextmanager
    def bypassed(self) -> Iterator[None]:
        """Read passes of this thread run by the stock weights, without an adapter of ours.

        One thread at a time (``Backbone.lock``).
        """
        before, self._bypassing = self._bypassing, threading.get_ident()
        try:
            yield
        finally:
            self._bypassing = before

    def state(self, modules: Iterable[nn.Module] | None = None) -> AdapterState:
        """Which adapters act now, whatever a pass in progress runs under.

        Args:
            modules: all modules of the model, where the caller has them at hand.
        """
        found = self._model.modules() if modules is None else modules
        # The name is asked first since every read comes here.
        layers: list[Any] = [
            m for m in found if "merged_adapters" in m.__dict__ and isinstance(m, BaseTunerLayer)
        ]
        active = [] if self.writing else [tuple(_callers(one._active_adapter)) for one in layers]
        return AdapterState(
            tuple(active),
            tuple(tuple(one.merged_adapters) for one in layers),
            tuple(bool(one.disable_adapters) for one in layers),
            tuple(_first(one) for one in layers),
        )

    @contextlib.contextmanager
    def active(self, name: str | None) -> Iterator[None]:
        """Make one adapter active in this thread; whichever was active before is again afterwards.

        One thread at a time (``Backbone.lock``).
        """
        if name is None:
            yield
            return
        with self._switched([] if name == _NO_ADAPTER else [name]):
            yield

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Make none of the memory's adapters active in this thread; what ``active`` says holds."""
        if not self._names:
            yield
            return
        with self._switched([]):
            yield

    @contextlib.contextmanager
    def _switched(self, names: list[str]) -> Iterator[None]:
        before = [layer._active_adapter for layer in self._layers]
        for layer, active in zip(self._layers, before, strict=True):
            layer._active_adapter = ByThread(names, _callers(active))
        try:
            yield
        finally:
            for layer, active in zip(self._layers, before, strict=True):
                layer._active_adapter = active


def _first(layer: Any) -> str:
    """The adapter that a layer got first."""
    groups = (getattr(layer, name, None) or () for name in layer.adapter_layer_names)
    return next((name for group in groups for name in group), "")


def _callers(active: Any) -> list[str]:
    """Which adapters the caller has made active, whatever a pass in progress runs under."""
    if isinstance(active, ByThread):
        return active.callers
    return [active] if isinstance(active, str) else list(active)


def add_adapters(model: nn.Module, config: AdapterConfig) -> None:
    """Put fresh adapters into a model, in place (the update starts at zero)."""
    names = [WRITE_ADAPTER, READ_ADAPTER] if config.reading else [WRITE_ADAPTER]
    flags = {name: weight.requires_grad for name, weight in model.named_parameters()}
    for name in names:
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=list(config.targets),
        )
        with warnings.catch_warnings():
            # Two adapters on one model are the point here, not an accident.
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            inject_adapter_in_model(lora, model, adapter_name=name)
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name or flags.get(name.replace(".base_layer", ""), True))
