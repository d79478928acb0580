"""Memories: what they hold, and the model they belong to."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from memplus.errors.base import MemplusError, UsageError

__all__ = [
    "BudgetError",
    "CorruptMemoryError",
    "MemoryChangedError",
    "MemoryFileError",
    "MemoryMismatchError",
    "MemoryVersionError",
    "NotAMemoryError",
    "NotAStoreError",
    "NotAnExportError",
    "SessionMismatchError",
    "StaleCacheError",
    "TailError",
    "UnknownSourceError",
]


_SHOWN_SOURCES = 12


def _size(count: int) -> str:
    rounded = f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
    return f"{count:,} bytes ({rounded})"


class BudgetError(UsageError):
    """What is about to be done needs more bytes than the limit; said before any is spent.

    Args:
        needed: bytes that the memory would take.
        given: bytes that it may take.
        already: whether it takes them as it is, before anything is written.
    """

    template = "The memory {takes}, but its limit is {limit}."
    hint = (
        "Raise the limit (`--max-bytes`), keep long-term rows in fewer bits (`--rows int8`, "
        "`int4` or `int2`) or fewer of them (eviction `oldest`), or use a smaller dtype."
    )

    def __init__(self, *, needed: int, given: int, already: bool = False) -> None:
        takes = f"would take {_size(needed)}"
        if already:
            takes = f"takes {_size(needed)} with its short-term pool full, before any more text"
        self._fill(needed=needed, given=given, takes=takes, limit=_size(given))


class StaleCacheError(UsageError):
    """A text cache does not fit the memory: another read made it, or the memory has changed."""

    template = "This cache does not fit the memory: {reason}."
    hint = "Leave the cache out and give the whole text; `chat` does so at every turn."

    def __init__(self, *, reason: str) -> None:
        self._fill(reason=reason)


class TailError(UsageError):
    """``write_chunk`` would jump the queue: earlier tokens still wait in the memory's tail."""

    template = "The memory has {waiting} tokens waiting in its tail."
    hint = "Call `write(memory, ..., flush=True)` first, or use `write` for the new text."

    def __init__(self, *, waiting: int) -> None:
        self._fill(waiting=waiting)


class UnknownSourceError(UsageError):
    """Nothing in the memory was written under that name."""

    template = "This memory has no source {source!r}. {listed}."
    hint = "Give the name of a source exactly as it was written; `memplus inspect` lists them."

    def __init__(self, source: str, *, known: Sequence[str]) -> None:
        shown = ", ".join(repr(name) for name in known[:_SHOWN_SOURCES])
        more = len(known) - _SHOWN_SOURCES
        listed = f"It has {shown}" if known else "It has none"
        self._fill(source=source, listed=f"{listed} and {more} more" if more > 0 else listed)


class MemoryMismatchError(MemplusError):
    """A memory was written by other weights, another adapter, config or dtype.

    Args:
        differs: names of what differs; may be empty where ``models`` or ``dtypes`` says it.
        models: the names of the model that wrote it and of this one, where these differ.
        dtypes: that in which it was written and that of the model, where these differ.
    """

    template = "This memory does not belong to this model: {reason}."
    exit_code = 3

    def __init__(
        self,
        *,
        differs: str = "",
        models: tuple[str, str] | None = None,
        dtypes: tuple[str, str] | None = None,
    ) -> None:
        reasons = [f"{differs} differ(s)"] if differs else []
        wrote, own = ("it was written", "this model is") if models is None else models
        if models is not None:
            wrote, own = f"{wrote} wrote it", f"this is {own}"
        if dtypes is not None:
            wrote, own = f"{wrote} in {dtypes[0]}", f"{own} in {dtypes[1]}"
        if models is not None or dtypes is not None:
            reasons.insert(0, f"{wrote}, and {own}")
        self._fill(
            reason="; ".join(reasons),
            model=None if models is None else models[0],
            dtype=None if dtypes is None else dtypes[0],
        )

    def _fill(self, **fields: object) -> None:
        super()._fill(**fields)
        model, dtype = fields["model"], fields["dtype"]
        flag, keyword = f"--dtype {dtype}", f'dtype="{dtype}"'
        if model:
            flag = f"--model {shlex.quote(str(model))}" + (f" {flag}" if dtype else "")
            given = f'"{model}", {keyword}' if dtype else f'"{model}"'
            keyword = f"MPlus.from_pretrained({given})"
        how = f": `{flag}`, in Python `{keyword}`" if model or dtype else ""
        by = "in the dtype of the memory" if dtype and not model else "with the model that wrote it"
        self.hint = f"Open it {by}{how}. Or write the text again with this one."


class SessionMismatchError(MemplusError):
    """A saved session was made by another system, with other options or by another model."""

    template = "{path} is not a saved session of {system}: {reason}."
    hint = "Load it with the system, the options and the model that saved it."
    exit_code = 3

    def __init__(self, path: str | os.PathLike[str], *, system: str, reason: str) -> None:
        self._fill(path=str(path), system=system, reason=reason)


class MemoryChangedError(MemplusError):
    """The file that a memory was loaded from holds something else by now; nothing was saved."""

    template = "{path} has been changed since this memory was loaded from it."
    hint = "Load it and write the text again, or save this memory under another name."

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._fill(path=str(path))


class MemoryFileError(MemplusError):
    """A saved memory cannot be used; nothing was changed."""

    template = "{path} cannot be opened as a memory: {reason}."
    hint = "Give the path of a memory made by `memplus write` or `Memory.save`."
    exit_code = 4

    def __init__(self, path: str | os.PathLike[str], *, reason: str) -> None:
        self._fill(path=str(path), reason=reason)


class NotAMemoryError(MemoryFileError):
    """A path leads to something else than a saved memory."""

    template = "{path} is not a memory: {reason}."


class NotAStoreError(MemoryFileError):
    """A path leads to something else than a store of memories."""

    template = "{path} is not a store of memories: {reason}."
    hint = "Give the directory of a store, or an empty or new one to create a store in."


class NotAnExportError(MemoryFileError):
    """A file that is to be imported is not one that a store has exported."""

    template = "{path} is not an exported memory: {reason}."
    hint = (
        "Give a file made by `memplus memories export`; one made by `--memory FILE` or "
        "`Memory.save` is used with `--memory FILE`."
    )


class CorruptMemoryError(MemoryFileError):
    """A saved memory is truncated, or a checksum differs."""

    template = "{path} is damaged: {reason}."
    hint = "Restore it from a copy, or write its sources again."


class MemoryVersionError(MemoryFileError):
    """A saved memory has a format version that this release cannot read."""

    template = "{path} has format version {found}; this release reads up to {supported}."
    hint = "Update memplus and open it again."

    def __init__(self, path: str | Path, *, found: object, supported: int) -> None:
        self._fill(path=str(path), found=found, supported=supported)
