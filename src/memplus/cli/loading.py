"""Model and memory as the flags name them; the model library is imported here, not before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from memplus.errors import ConfigError, StorageError

if TYPE_CHECKING:
    import torch

    from memplus.memory.state import Memory
    from memplus.model import MPlus

__all__ = ["load_model", "open_memory", "require_folder"]

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
    from memplus.model import MPlus

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


def open_memory(
    model: MPlus, path: Path, *, seed: int, max_bytes: int | None = None, create: bool = False
) -> Memory:
    """The saved memory at ``path``; where there is none and ``create`` is set, a pristine one.

    Raises:
        StorageError: there is none, or it cannot be read, or it could not be saved there.
        MemoryMismatchError, MemoryFileError: see ``Memory.load``.
    """
    from memplus.memory.state import Memory

    if create:
        require_folder(path)
    if create and not path.exists():
        return model.new_memory(seed, max_bytes=max_bytes)
    memory = Memory.load(path, model)
    memory.max_bytes = max_bytes if max_bytes is not None else memory.max_bytes
    return memory


def require_folder(path: Path) -> None:
    """Refuse a place for a result before the work for it is done.

    Raises:
        StorageError: the folder that ``path`` lies in does not exist.
    """
    if not path.parent.is_dir():
        raise StorageError(path, reason=f"there is no folder {path.parent}")
