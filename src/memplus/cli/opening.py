"""Model and memory as the flags name them; the model library is imported here, not before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memplus.errors import ConfigError, NotFoundError, UsageError

if TYPE_CHECKING:
    import torch

    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus

__all__ = ["Place", "load_model", "require_folder"]

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


@dataclass(frozen=True)
class Place:
    """Where a memory is: a file of its own, or a name in a store.

    Raises:
        UsageError: neither or both were given.
    """

    memory: Path | None
    store: Path | None
    id: str | None
    wait: float = 0.0
    ram: int | None = None

    def __post_init__(self) -> None:
        if (self.memory is None) == (self.store is None):
            raise UsageError("Give either --memory FILE, or --store DIR with --id NAME.")
        if (self.store is None) != (self.id is None):
            raise UsageError("--store DIR and --id NAME go together.")

    def __str__(self) -> str:
        return str(self.memory) if self.store is None else f"{self.id} in {self.store}"

    @property
    def data(self) -> dict[str, str]:
        """For JSON."""
        if self.store is None:
            return {"memory": str(self.memory)}
        return {"store": str(self.store), "id": str(self.id)}

    @contextmanager
    def reading(self, model: MPlus) -> Iterator[Memory]:
        """The memory, to be read.

        Raises:
            UsageError, StorageError, MemoryMismatchError, MemoryFileError: it cannot be opened.
        """
        if self.store is None:
            assert self.memory is not None
            yield open_memory(model, self.memory)
            return
        from memplus.store import MemoryStore

        assert self.id is not None
        with MemoryStore.existing(self.store, ram=self.ram).open(self.id, model) as memory:
            yield memory

    @contextmanager
    def writing(self, model: MPlus, *, seed: int, max_bytes: int | None) -> Iterator[Memory]:
        """The memory, to be written to; made where there is none, saved when the block ends.

        Raises:
            MemoryBusyError: another process writes to it for longer than ``wait``.
            UsageError, StorageError, MemoryMismatchError, MemoryFileError: it cannot be opened.
        """
        if self.store is None:
            from memplus.memory.files import locked

            assert self.memory is not None
            with locked(self.memory, wait=self.wait):
                target = open_memory(
                    model, self.memory, seed=seed, max_bytes=max_bytes, create=True
                )
                yield target
                target.save(self.memory)
            return
        from memplus.store import MemoryStore

        assert self.id is not None
        store = MemoryStore(self.store, ram=self.ram)
        with store.open_or_create(
            self.id, model, seed=seed, max_bytes=max_bytes, wait=self.wait
        ) as stored:
            stored.max_bytes = max_bytes if max_bytes is not None else stored.max_bytes
            yield stored


def open_memory(
    model: MPlus, path: Path, *, seed: int = 0, max_bytes: int | None = None, create: bool = False
) -> Memory:
    """The saved memory at ``path``; where there is none and ``create`` is set, a pristine one.

    Raises:
        NotFoundError: there is none, or the folder that it would lie in is missing.
        StorageError: it cannot be read, or it could not be saved there.
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
        NotFoundError: the folder that ``path`` lies in does not exist.
    """
    if not path.parent.is_dir():
        raise NotFoundError(path.parent, kind="folder")
