"""The root of the tree, and what every room may raise."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

__all__ = [
    "ConfigError",
    "MemplusError",
    "NotCachedError",
    "NotFoundError",
    "StorageError",
    "StreamError",
    "UsageError",
    "shortened",
    "storage_error",
    "storage_errors",
    "system_code",
]


class MemplusError(Exception):
    """Root of the tree: ``except MemplusError`` catches whatever memplus raises on purpose.

    ``message`` and ``hint`` are separate for programs; ``str(error)`` joins them for people.
    Classes below fill ``template`` from typed arguments, kept in ``fields``.
    """

    template: ClassVar[str] = "{message}"
    hint: str = ""
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        self._fill(message=message)

    def _fill(self, **fields: object) -> None:
        self.fields: dict[str, object] = fields
        message = self.template.format(**fields)
        # A library's own reason often is a sentence, and its full stop would stand before ours.
        self.message: str = re.sub(r"(?<!\.)\.\.$", ".", message)
        Exception.__init__(self, self.message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Callable[..., MemplusError], tuple[object, ...]]:
        # Keyword-only constructors do not survive Exception's own pickling.
        return _rebuild, (type(self), self.fields)


def _rebuild(kind: type[MemplusError], fields: dict[str, object]) -> MemplusError:
    error = kind.__new__(kind)
    error._fill(**fields)
    return error


class UsageError(MemplusError):
    """The request itself is wrong; nothing was done."""

    exit_code = 2


_LONGEST = 200
"""Characters of a foreign value that a message shows."""


def shortened(value: object) -> object:
    """A foreign value for a message: as it is, or the beginning of its text where it is long."""
    text = repr(value)
    return value if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


class ConfigError(UsageError):
    """One field of a configuration cannot hold this value."""

    template = "{field} cannot be {value!r}: {reason}."
    hint = "Correct that field and try again."

    def __init__(self, field: str, *, value: object, reason: str) -> None:
        self._fill(field=field, value=shortened(value), reason=reason)


class NotFoundError(UsageError):
    """A path that was given leads to no file, or to no folder, where one is needed."""

    template = "There is no {kind} {path}{note}."
    hint = "Check the spelling; a relative path begins in the folder that you are in."

    def __init__(self, path: str | Path, *, kind: str = "file", note: str = "") -> None:
        self._fill(path=str(path), kind=kind, note=note)


class NotCachedError(NotFoundError):
    """The cache of base models holds none of that name."""

    template = "There is no model {name!r} in the cache ({path})."
    hint = "`memplus models` lists what is in the cache."

    def __init__(self, name: str, *, path: str | Path) -> None:
        self._fill(name=name, path=str(path))


class StorageError(MemplusError):
    """The disk refused a read or a write; the old file, if any, is intact.

    Args:
        path: what could not be stored or read.
        reason: why, in the system's words.
        code: the system's number of that reason (``errno``), which chooses the hint.
    """

    template = "{path} could not be stored or read: {reason}."
    hint = "Check the file and its disk; what was there before is untouched."

    def __init__(self, path: str | Path, *, reason: str, code: int | None = None) -> None:
        self._fill(path=str(path), reason=reason, code=code)

    def _fill(self, **fields: object) -> None:
        super()._fill(**fields)
        remedy = _REMEDIES.get(fields.get("code"))
        if remedy is not None:
            self.hint = remedy


class StreamError(StorageError):
    """Standard input or standard output is closed, or the system refused it.

    Args:
        name: which of the two.
        error: the system's refusal.
    """

    template = "{path} cannot be used: {reason}."
    hint = "Connect it to a terminal, file or pipe that works; what a memory has taken is kept."

    def __init__(self, name: str, error: OSError) -> None:
        closed = error.errno == errno.EBADF
        self._fill(path=name, reason="it is closed" if closed else error.strerror or str(error))


_SPACE = "Free some space or choose another place; what was there before is untouched."
_REMEDIES: dict[object, str] = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EAGAIN: "Another process keeps it locked; try again when that process is done.",
    errno.EROFS: "The disk is read-only; choose another place.",
    errno.EACCES: "Check the permissions of the file and its folder, or choose another place.",
    errno.EPERM: "Check the permissions of the file and its folder, or choose another place.",
    errno.EMFILE: "Close memories that are open, or allow more open files (`ulimit -n`).",
    errno.ENFILE: "Close memories that are open, or allow more open files (`ulimit -n`).",
}


def storage_error(path: str | os.PathLike[str], error: Exception) -> MemplusError:
    """The error of this tree for what the system, or a library on its behalf, refused.

    Args:
        path: the file or folder that was asked for.
        error: an ``OSError``, or a library's own error about a file.

    Returns:
        ``NotFoundError`` where the path leads nowhere, ``UsageError`` where it leads to a folder in
        the place of a file, otherwise ``StorageError`` with a hint that fits the reason.
    """
    place = Path(path)
    code = system_code(error)
    if code in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST):
        if not place.parent.is_dir():
            return NotFoundError(place.parent, kind="folder")
        if not os.path.lexists(place):
            return NotFoundError(place)
    named = {str(getattr(error, name, None)) for name in ("filename", "filename2")}
    if code == errno.EISDIR and str(place) in named:
        return UsageError(f"{place} is a folder, but a file is needed.")
    return StorageError(place, reason=getattr(error, "strerror", None) or str(error), code=code)


@contextlib.contextmanager
def storage_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """The disk's refusals inside the block, in whatever class a library reports them.

    Raises:
        StorageError, NotFoundError: see ``storage_error``.
    """
    try:
        yield
    except MemplusError:
        raise
    except Exception as error:
        if isinstance(error, OSError) or system_code(error) is not None:
            raise storage_error(path, error) from error
        raise


def system_code(error: Exception) -> int | None:
    """The system's number of a reason; safetensors and tokenizers only write it into the text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    written = re.search(r"\(os error (\d+)\)", str(error))
    return int(written[1]) if written else None
