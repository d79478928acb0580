"""In what dtype, on which device and from which revision a model is loaded, as users say it.

Takes what transformers takes (names or objects) and answers with ours, or refuses by name before
anything is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from memplus.backbone.decoder_config import DTYPES
from memplus.backbone.processor import bfloat16_unit, gpu_multiplies_bfloat16, multiplies_fast
from memplus.errors import ConfigError

__all__ = ["DtypeChoice", "HubOptions", "LoadOptions", "Placement", "dtype_for", "place"]


class HubOptions(TypedDict, total=False):
    """What is passed on to the hub's client, where a name is a hub id."""

    revision: str | None
    """Branch, tag or commit; the main branch by default."""
    token: str | bool | None
    """Of a private repository; the one that is logged in by default."""
    cache_dir: str | os.PathLike[str] | None
    """Where files are kept."""
    local_files_only: bool
    """Whether to take only what is kept already."""


class LoadOptions(HubOptions, total=False):
    """Further keywords of ``from_pretrained`` and ``from_backbone``."""

    device_map: Any
    """Another way to say ``device``, as transformers has it; it must name a single device."""


@dataclass(frozen=True)
class Placement:
    """Where a model goes."""

    dtype: torch.dtype | None
    """None: the checkpoint's own."""
    device: torch.device
    hub: HubOptions
    dtype_given: bool
    """Whether the caller said anything of the dtype, ``"auto"`` included."""


@dataclass(frozen=True)
class DtypeChoice:
    """In what dtype a model is loaded, and why."""

    dtype: torch.dtype | None
    """None: the checkpoint's own."""
    why: str
    """In words that go on after the dtype's name."""


def place(
    dtype: str | torch.dtype | None,
    device: str | int | torch.device | None,
    options: LoadOptions,
) -> Placement:
    """What the keywords of a loading call ask for.

    Args:
        dtype: a torch dtype, its name, or ``"auto"``: the checkpoint's own; None leaves it to
            ``dtype_for``.
        device: a torch device, its name, or the number of a GPU; None: the CPU.
        options: see ``LoadOptions``.

    Raises:
        ConfigError: a keyword is unknown, or its value is not to be had here; names what is.
    """
    known = LoadOptions.__annotations__
    for name, value in options.items():
        if name not in known:
            reason = f"there is no such option of loading; known are {', '.join(sorted(known))}"
            raise ConfigError(name, value=value, reason=reason)
    given: dict[str, Any] = dict(options)
    mapped = _single(given.pop("device_map", None))
    if mapped is not None and device is not None and _device(mapped) != _device(device):
        reason = f"device is {device}; give one of the two"
        raise ConfigError("device_map", value=mapped, reason=reason)
    hub: Any = {name: value for name, value in given.items() if value is not None}
    where = _device(mapped if device is None else device)
    return Placement(_dtype(dtype), where, hub, dtype is not None)


def dtype_for(placed: Placement, *, over_base: bool) -> DtypeChoice:
    """In what dtype a model is loaded: what was asked for, or what suits it and the machine.

    Args:
        placed: what was asked for.
        over_base: whether it is, or lies over, a base model that memplus knows by name
            (``bases.known_bases``). Only such a model is fitted to what multiplies.
    """
    if placed.dtype is not None:
        return DtypeChoice(placed.dtype, "as asked for")
    kind = placed.device.type
    if placed.dtype_given or not over_base or kind not in ("cpu", "cuda"):
        return DtypeChoice(None, "the checkpoint's own")
    if kind == "cuda":
        if gpu_multiplies_bfloat16(placed.device):
            return DtypeChoice(torch.bfloat16, "since this GPU multiplies it natively")
        return DtypeChoice(torch.float32, "since this GPU does not multiply bfloat16 natively")
    unit = bfloat16_unit()
    if unit is None:
        return DtypeChoice(torch.float32, "since this processor has neither AVX512-BF16 nor AMX")
    why = f"since this processor multiplies it natively ({unit})"
    if not multiplies_fast(torch.bfloat16):
        why += ", in half the bytes of float32, but no faster: it has no AMX here"
    return DtypeChoice(torch.bfloat16, why)


def _dtype(given: object) -> torch.dtype | None:
    if given is None or given == "auto":
        return None
    name = str(given).removeprefix("torch.")
    if not isinstance(given, str | torch.dtype) or name not in DTYPES:
        reason = f"it must be auto or one of {', '.join(DTYPES)}"
        raise ConfigError("dtype", value=given, reason=reason)
    found: torch.dtype = getattr(torch, name)
    return found


def _single(device_map: object) -> Any:
    """The one device of a map of devices."""
    named = list(device_map.values()) if isinstance(device_map, Mapping) else [device_map]
    strategies = ("auto", "balanced", "balanced_low_0", "sequential")
    if len(set(map(str, named))) != 1 or named[0] in strategies:
        reason = "a model with memory lies on one device; name it, such as cuda:0"
        raise ConfigError("device_map", value=device_map, reason=reason)
    return named[0]


def _device(given: object) -> torch.device:
    if given is None:
        return torch.device("cpu")
    known = _devices()
    try:
        device = torch.device(given)  # type: ignore[call-overload]
    except (RuntimeError, TypeError, ValueError) as error:
        raise _no_device(given, known) from error
    indexed = f"{device.type}:{device.index or 0}"
    if str(device.type) not in known and indexed not in known:
        raise _no_device(given, known)
    found: torch.device = device
    return found


def _no_device(given: object, known: list[str]) -> ConfigError:
    reason = f"it is no device of this machine, which has {', '.join(known)}"
    return ConfigError("device", value=given, reason=reason)


def _devices() -> list[str]:
    names = ["cpu"]
    if torch.backends.mps.is_available():
        names.append("mps")
    for kind in ("cuda", "xpu"):
        module = getattr(torch, kind)
        if module.is_available():
            names += [f"{kind}:{index}" for index in range(module.device_count())]
    return names
