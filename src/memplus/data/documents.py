"""Texts as they come from disk: read, unpacked, decoded, checked, named.

This room is the only one that turns a file into text. It gives a ``Document``, or an error that
says what the file is and which byte is wrong. It knows nothing of tokens, models or memories.
"""

from __future__ import annotations

import codecs
import gzip
import os
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from memplus.errors import (
    DocumentFormatError,
    EmptyTextError,
    NotTextError,
    StorageError,
    StreamError,
)
from memplus.errors.base import storage_error

__all__ = ["Document", "decode", "read_bytes", "read_document", "read_stdin", "source_of"]

_GZIP = b"\x1f\x8b"

# What a file begins with -> what it is. Text never begins so, but for chance.
_FORMATS = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
)
_RIFF = {b"WEBP": "a WebP image", b"WAVE": "a sound file", b"AVI ": "a film"}
# The first names in a zip archive -> what it is.
_ZIPPED = (
    (b"application/epub+zip", "an EPUB book"),
    (b"application/vnd.oasis.opendocument", "an OpenDocument file"),
    (b"word/", "a Word document (docx)"),
    (b"xl/", "an Excel workbook (xlsx)"),
    (b"ppt/", "a PowerPoint file (pptx)"),
)
# The longer mark first: UTF-32's begins like UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """A text and the name it is remembered by."""

    source: str
    text: str


def read_document(path: Path) -> Document:
    """The text of a file, named by its path as given; see ``read_bytes`` and ``decode``.

    Raises:
        NotFoundError: the file is absent, or a directory.
        StorageError: it cannot be read or unpacked.
        DocumentFormatError: it is a PDF, an image, an archive or the like.
        NotTextError: it holds NUL bytes, or bytes that are no text in its encoding.
        EmptyTextError: it holds nothing but white space.
    """
    return decode(read_bytes(path), source=source_of(path))


def read_stdin() -> Document:
    """The text on standard input, under the name ``-``; other errors as ``read_document``.

    Raises:
        StreamError: it is closed, or a folder.
    """
    called = "Standard input"
    try:
        raw = sys.stdin.buffer.read()
    except OSError as error:
        raise StreamError(called, error) from error
    return replace(decode(_unpacked(raw, called), source=called), source="-")


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked where it is gzipped (whatever its name).

    Raises:
        NotFoundError: the file is absent, or a directory.
        StorageError: it cannot be read, or is no whole gzip archive though its name or its first
            bytes say so.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise storage_error(path, error) from error
    return _unpacked(raw, source_of(path), packed=path.suffix == ".gz")


def source_of(path: str | os.PathLike[str]) -> str:
    """The name of a file as text: bytes that are no UTF-8 are shown as ``\\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def decode(raw: bytes, *, source: str) -> Document:
    """Bytes as a document: UTF-8, or UTF-16 and UTF-32 behind their byte order mark.

    The mark is dropped, and line ends become ``\\n``.

    Raises:
        DocumentFormatError: a PDF, an image, an archive or the like.
        NotTextError: NUL bytes or invalid bytes, with the offset of the first bad one.
        EmptyTextError: nothing but white space.
    """
    encoding, start = next(
        ((name, len(mark)) for mark, name in _MARKS if raw.startswith(mark)), ("utf-8", 0)
    )
    kind = _kind(raw) if start == 0 else ""
    if kind:
        raise DocumentFormatError(source, kind=kind)
    try:
        text = raw[start:].decode(encoding)
    except UnicodeDecodeError as error:
        reason = error.reason if encoding == "utf-8" else f"{error.reason} in {encoding.upper()}"
        offset = start + error.start
        raise NotTextError(source, offset=offset, reason=reason, advice=_advice(raw)) from error
    nul = text.find("\0")
    if nul >= 0:
        offset = start + len(text[:nul].encode(encoding))
        raise NotTextError(source, offset=offset, reason="it holds a NUL byte", advice=_advice(raw))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise EmptyTextError(source)
    return Document(source=source, text=text)


def _unpacked(raw: bytes, source: str, *, packed: bool = False) -> bytes:
    if not packed and not raw.startswith(_GZIP):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        reason = f"it is not a whole gzip archive ({error})"
        raise StorageError(source, reason=reason) from error


def _kind(raw: bytes) -> str:
    """What the first bytes say that a file is; empty where they say nothing."""
    kind = next((name for magic, name in _FORMATS if raw.startswith(magic)), "")
    if kind == "a zip archive":
        return next((name for part, name in _ZIPPED if part in raw[:4096]), kind)
    if raw.startswith(b"RIFF"):
        return _RIFF.get(raw[8:12], "")
    return "a film or sound file" if raw[4:8] == b"ftyp" and b"\0" in raw[:4] else kind


def _advice(raw: bytes) -> str:
    """What turns the file into UTF-8, as far as its bytes tell."""
    if b"\0" in raw[:4096]:
        half = len(raw[:4096]) // 2
        for name, zeros in (("UTF-16LE", raw[1:4096:2]), ("UTF-16BE", raw[0:4096:2])):
            if half > 1 and zeros.count(0) > 0.7 * half:
                return _convert(name)
        return "The file is binary: extract its text first."
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return _convert("ENCODING")
    return _convert("CP1252")


def _convert(encoding: str) -> str:
    return f"Convert it first: `iconv -f {encoding} -t UTF-8 IN > OUT`."
