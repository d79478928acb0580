"""What travels in an exported file beside the memory: notes of a program that looks after it.

The store neither reads nor needs them, and an importer that knows nothing of them leaves them.
"""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from memplus.errors import NotAnExportError, UsageError
from memplus.store.disk import read
from memplus.store.manifest import NAME

__all__ = ["Enclosed", "enclose", "enclosed"]

_NOTES = "notes"
_MOST_BYTES = 1 << 26
_NO_ARCHIVE = (
    zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError, KeyError,
    OverflowError, TypeError, struct.error,
)  # fmt: skip
"""What reading raises of a file that is not an archive, or not one of ours."""


@dataclass(frozen=True)
class Enclosed:
    """What an exported file tells before it is imported; none of it is checked."""

    id: str
    """The name that the memory had."""
    notes: bytes
    """Empty: there are none."""


def enclose(archive: zipfile.ZipFile, notes: bytes) -> None:
    """Put notes into a file that is being exported.

    Raises:
        UsageError: they are too long to be read again.
    """
    if len(notes) > _MOST_BYTES:
        raise UsageError(f"Notes of a memory have at most {_MOST_BYTES} bytes, not {len(notes)}.")
    if notes:
        archive.writestr(zipfile.ZipInfo(_NOTES), notes)


def enclosed(path: Path) -> Enclosed:
    """What is beside the memory in an exported file.

    Raises:
        NotAnExportError: it is none, or its notes are too long, or compressed.
        StorageError: the system refused to read it.
    """
    try:
        with read(path) as file, zipfile.ZipFile(file) as archive:
            id = str(json.loads(_content(archive, NAME).partition(b"\n")[2])["id"])
            notes = _content(archive, _NOTES) if _NOTES in archive.namelist() else b""
    except _NO_ARCHIVE as error:
        raise NotAnExportError(path, reason=str(error)) from error
    return Enclosed(id, notes)


def _content(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise zipfile.BadZipFile("it is compressed or encrypted")
    if info.file_size > _MOST_BYTES:
        raise zipfile.BadZipFile(f"its {name} is too long")
    return archive.read(info)
