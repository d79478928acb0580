"""Texts as they come from disk: decoded, checked, named.

This room turns a path into a ``Document`` or into an error that says which byte is wrong. It
knows nothing of tokens, models or memories.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from memplus.errors import EmptyTextError, NotTextError
from memplus.errors.base import storage_error

__all__ = ["Document", "decode", "read_document", "read_stdin"]


@dataclass(frozen=True, slots=True)
class Document:
    """A text and the name it is remembered by."""

    source: str
    text: str


def read_document(path: Path) -> Document:
    """The text of a UTF-8 file, which may be gzipped (``.gz``), named by its path as given.

    Raises:
        NotFoundError: the file is absent, or a directory.
        StorageError: it cannot be read.
        NotTextError: it holds NUL bytes or is not UTF-8.
        EmptyTextError: it holds nothing but white space.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise storage_error(path, error) from error
    return decode(raw, source=str(path))


def read_stdin() -> Document:
    """The text on standard input, under the name ``-``; errors as ``read_document``."""
    return decode(sys.stdin.buffer.read(), source="-")


def decode(raw: bytes, *, source: str) -> Document:
    """UTF-8 bytes as a document; a byte order mark is dropped, line ends become ``\\n``.

    Raises:
        NotTextError: NUL bytes or invalid UTF-8, with the offset of the first bad byte.
        EmptyTextError: nothing but white space.
    """
    nul = raw.find(b"\0")
    if nul >= 0:
        raise NotTextError(source, offset=nul, reason="a NUL byte, so the file is binary,")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotTextError(source, offset=error.start, reason=error.reason) from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise EmptyTextError(source)
    return Document(source=source, text=text)
