"""Memories kept in a directory."""

from __future__ import annotations

from pathlib import Path

from memplus.errors.base import MemplusError, UsageError

__all__ = [
    "ClosedMemoryError",
    "HistoryError",
    "LeaseLostError",
    "MemoryBusyError",
    "MemoryExistsError",
    "ReadOnlyMemoryError",
    "UnknownMemoryError",
]


class UnknownMemoryError(UsageError):
    """A store holds no memory of that name."""

    template = "There is no memory {name!r} in {store}."
    hint = "`memplus memories list --store DIR` lists those that exist."

    def __init__(self, name: str, *, store: str | Path) -> None:
        self._fill(name=name, store=str(store))


class MemoryExistsError(UsageError):
    """A store holds a memory of that name already."""

    template = "There is already a memory {name!r} in {store}."
    hint = "Choose another name, or delete that one first."

    def __init__(self, name: str, *, store: str | Path) -> None:
        self._fill(name=name, store=str(store))


class ReadOnlyMemoryError(UsageError):
    """A memory of a store was opened for reading, or closed meanwhile, and cannot be changed."""

    template = "The memory {name!r} cannot be changed: {reason}."
    hint = "Open it with `MemoryStore.open(name, model, write=True)`."

    def __init__(self, name: str, *, reason: str) -> None:
        self._fill(name=name, reason=reason)


class ClosedMemoryError(ReadOnlyMemoryError):
    """A memory of a store is closed: it can be neither read nor changed any more."""

    template = "The memory {name!r} is closed."
    hint = (
        "It closes when its `with` block ends: ask and write inside the block, or open it again "
        "with `MemoryStore.open(name, model)`, for writing with `write=True`."
    )

    def __init__(self, name: str) -> None:
        self._fill(name=name)


class HistoryError(UsageError):
    """A memory cannot go back to that write or commit: no state after it is kept."""

    template = "The state after {what} {number} is not kept, only those after {kept}."
    hint = "`memplus memories history` lists them; each call of `write` makes one."

    def __init__(self, number: int, *, kept: str, what: str = "write") -> None:
        self._fill(number=number, kept=kept, what=what)


class MemoryBusyError(MemplusError):
    """Another process, or another handle of this one, is writing to the memory."""

    template = "The memory {name!r} is being written to by somebody else."
    hint = "Wait for it (`--wait SECONDS`), or open the memory for reading."

    def __init__(self, name: str) -> None:
        self._fill(name=name)


class LeaseLostError(MemoryBusyError):
    """Another writer has taken a memory over, after this one had not renewed its lease in time."""

    template = "The memory {name!r} was taken over by another writer; nothing more is written here."
    hint = "Open it again and repeat the writes that were not acknowledged."
