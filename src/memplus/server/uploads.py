"""Files that are sent: to text, by the rules that hold for files everywhere."""

from __future__ import annotations

import gzip
import zlib
from pathlib import PurePath

from fastapi import UploadFile

from memplus.data.documents import Document, decode
from memplus.server.faults import Fault, RequestFault

__all__ = ["document_of"]

_GZIP = b"\x1f\x8b"


def document_of(file: UploadFile, most: int) -> Document:
    """The text of a file that was sent, named as the client names it.

    Args:
        file: gzipped or not.
        most: bytes that it may have once it is unpacked.

    Raises:
        RequestFault: it is larger, or no whole archive.
        DocumentFormatError, NotTextError, EmptyTextError: see ``data.documents.decode``.
    """
    raw = file.file.read(most + 1)
    if raw.startswith(_GZIP):
        file.file.seek(0)
        try:
            with gzip.GzipFile(fileobj=file.file, mode="rb") as unpacked:
                raw = unpacked.read(most + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise RequestFault.invalid("The file is not a whole gzip archive.", "file") from error
    if len(raw) > most:
        message = f"A file has at most {most} bytes, unpacked; send a long text in several writes."
        raise RequestFault(
            Fault(413, "invalid_request_error", message, "request_too_large", final=True)
        )
    return decode(raw, source=PurePath(file.filename or "file").name)
