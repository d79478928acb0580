"""The model that the flags name; the model library is imported here, not before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from memplus.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from memplus.mplus.model import MPlus

__all__ = ["load_model"]

_DTYPES = ("float32", "bfloat16", "float16")


def load_model(name: str, *, device: str | None, dtype: str | None) -> MPlus:
    """The model that ``--model``, ``--device`` and ``--dtype`` ask for, in evaluation mode.

    Raises:
        ConfigError: the device or the dtype is not to be had.
        ModelError: see ``MPlus.from_pretrained``.
    """
    # Its advice and its bars are not about what the user asked for.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    wanted = _dtype(dtype)
    place = _device(device or "cpu")
    from memplus.mplus.model import MPlus

    return MPlus.from_pretrained(name, dtype=wanted, device=place).eval()


def _dtype(name: str | None) -> torch.dtype | None:
    import torch

    if name is None:
        return None
    if name not in _DTYPES:
        raise ConfigError("dtype", value=name, reason=f"it must be one of {', '.join(_DTYPES)}")
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError("device", value=name, reason="there is no such device") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", value=name, reason="no CUDA device is available")
    return device
