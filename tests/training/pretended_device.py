"""A device that is only pretended: numbers of the CPU, but mixing devices is an error, as on a GPU.

``moved`` puts a model there; inside ``PretendedDevice`` every function of torch is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_ELSEWHERE = torch.device("cuda")
_LOOKED_AT = (
    "__get__",
    "__set__",
    "requires_grad_",
    "as_subclass",
    "size",
    "dim",
    "numel",
    "stride",
)
_MAY_MIX = ("copy_", "__getitem__", "__setitem__")
_WAITS = ("item", "__bool__", "__float__", "__int__", "__index__", "tolist", "nonzero", "equal")


class Elsewhere(Tensor):
    """A tensor that says that it lies on a GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return _ELSEWHERE


def moved(model: nn.Module) -> None:
    """Put weights and buffers on the pretended device, in place."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                there: Any = weight.detach().as_subclass(Elsewhere).requires_grad_()
                there._is_param = True
                module._parameters[name] = there
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.as_subclass(Elsewhere)


class PretendedDevice(TorchFunctionMode):
    """Raises where a tensor of it meets one of the CPU; notes what a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = str(getattr(func, "__name__", func)), dict(kwargs or {})
        if name in _LOOKED_AT:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if name in ("to", "cpu"):
            return self._moved(func, args, kwargs)
        made_there = torch.device(kwargs["device"]) == _ELSEWHERE if kwargs.get("device") else None
        if made_there:
            kwargs["device"] = "cpu"
        tensors = list(_tensors((args, kwargs)))
        there = [one for one in tensors if isinstance(one, Elsewhere)]
        here = [one for one in tensors if not isinstance(one, Elsewhere) and one.dim()]
        if there and here and (name not in _MAY_MIX or not isinstance(args[0], Elsewhere)):
            raise RuntimeError(f"devices are mixed in {name}: {[tuple(t.shape) for t in here]}")
        if there and (name in _WAITS or _by_mask(name, args) or here):
            self.waited.append(name)
        result = func(*_plain(args), **_plain(kwargs))
        return _there(result) if (there or made_there) and made_there is not False else result

    def _moved(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        to_there = isinstance(args[0], Elsewhere) and func.__name__ != "cpu"
        plain = list(args)
        for place, one in enumerate(args[1:], start=1):
            if isinstance(one, str | torch.device):
                to_there, plain[place] = torch.device(one) == _ELSEWHERE, "cpu"
        if "device" in kwargs:
            to_there, kwargs["device"] = torch.device(kwargs["device"]) == _ELSEWHERE, "cpu"
        if isinstance(args[0], Elsewhere) and not to_there:
            self.waited.append(func.__name__)
        result = func(*_plain(tuple(plain)), **_plain(kwargs))
        return _there(result) if to_there else result


def _by_mask(name: str, args: tuple[Any, ...]) -> bool:
    masks = [one for one in _tensors(args[1:2]) if one.dtype == torch.bool and one.dim()]
    return name in ("__getitem__", "__setitem__") and bool(masks)


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _tensors(one)
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))


def _plain(given: Any) -> Any:
    return _each(given, lambda one: one.as_subclass(Tensor))


def _there(given: Any) -> Any:
    return _each(given, lambda one: one.as_subclass(Elsewhere))


def _each(given: Any, change: Any) -> Any:
    if isinstance(given, Tensor):
        return change(given)
    if isinstance(given, tuple) and hasattr(given, "_fields"):
        return type(given)(*(_each(one, change) for one in given))
    if isinstance(given, list | tuple):
        return type(given)(_each(one, change) for one in given)
    if isinstance(given, dict):
        return {name: _each(one, change) for name, one in given.items()}
    return given
