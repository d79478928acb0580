"""Results that people open: texts, put in their place whole or not at all, and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memplus.errors import ConfigError
from memplus.errors.base import storage_errors
from memplus.files import write_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["picture_format", "put_text", "save_picture"]

_PNG = "png"
_FORMATS = (_PNG, "pdf", "svg", "jpg", "webp", "eps")
"""Those that need no other program."""


def put_text(path: Path, text: str) -> None:
    """Replace a file's text, in UTF-8 and in one step; a link stays one.

    Raises:
        NotFoundError, StorageError, UsageError: see ``files.aside``.
    """
    write_aside(path, text.encode())


def picture_format(path: Path) -> str:
    """The format that a picture's name asks for by its suffix; without one, PNG.

    Raises:
        ConfigError: the suffix names no format of pictures.
    """
    kind = path.suffix.removeprefix(".").lower() or _PNG
    if kind not in _FORMATS:
        reason = f"its suffix names no format of pictures; there are {', '.join(_FORMATS)}"
        raise ConfigError("picture", value=str(path), reason=reason)
    return kind


def save_picture(figure: Figure, path: Path) -> None:
    """Save a picture under exactly that name, in the format of its suffix; without one, as a PNG.

    Raises:
        ConfigError: see ``picture_format``.
        NotFoundError, StorageError: it cannot be written there.
    """
    kind = picture_format(path)
    with storage_errors(path):
        figure.savefig(path, dpi=120, format=kind)
