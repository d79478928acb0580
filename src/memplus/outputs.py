"""Results that people open: texts, put in their place whole or not at all, and pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from memplus.errors import ConfigError
from memplus.errors.base import storage_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["put_text", "save_picture"]

_PNG = "png"
_FORMATS = (_PNG, "pdf", "svg", "jpg", "webp", "eps")
"""Those that need no other program."""


def put_text(path: Path, text: str) -> None:
    """Write a file aside, and rename it to where it belongs; a link stays one.

    Raises:
        NotFoundError: its folder is missing.
        StorageError: the disk refused; an older file is untouched.
    """
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with storage_errors(path):
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def save_picture(figure: Figure, path: Path) -> None:
    """Save a picture under exactly that name, in the format of its suffix; without one, as a PNG.

    Raises:
        ConfigError: the suffix names no format of pictures.
        NotFoundError, StorageError: it cannot be written there.
    """
    kind = path.suffix.removeprefix(".").lower() or _PNG
    if kind not in _FORMATS:
        reason = f"its suffix names no format of pictures; there are {', '.join(_FORMATS)}"
        raise ConfigError("picture", value=str(path), reason=reason)
    with storage_errors(path):
        figure.savefig(path, dpi=120, format=kind)
